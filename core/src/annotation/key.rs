//! The neutral keys, one constant each.

/// Whether the load balancer can be reached from outside its network.
pub const SCHEME: &str = "evenkeel.dev/scheme";
/// Addresses, or names of reserved addresses.
pub const STATIC_ADDRESS: &str = "evenkeel.dev/static-address";
/// Who may connect.
pub const SOURCE_RANGES: &str = "evenkeel.dev/source-ranges";
/// How targets are probed.
pub const HEALTH_CHECK_PROTOCOL: &str = "evenkeel.dev/health-check-protocol";
/// Which port is probed.
pub const HEALTH_CHECK_PORT: &str = "evenkeel.dev/health-check-port";
/// Which path is asked for.
pub const HEALTH_CHECK_PATH: &str = "evenkeel.dev/health-check-path";
/// Seconds between two probes.
pub const HEALTH_CHECK_INTERVAL: &str = "evenkeel.dev/health-check-interval";
/// Seconds until a probe has failed.
pub const HEALTH_CHECK_TIMEOUT: &str = "evenkeel.dev/health-check-timeout";
/// Successes that make a target healthy.
pub const HEALTH_CHECK_HEALTHY_THRESHOLD: &str = "evenkeel.dev/health-check-healthy-threshold";
/// Failures that make a target unhealthy.
pub const HEALTH_CHECK_UNHEALTHY_THRESHOLD: &str = "evenkeel.dev/health-check-unhealthy-threshold";
/// Whether targets get the PROXY protocol's header.
pub const PROXY_PROTOCOL: &str = "evenkeel.dev/proxy-protocol";
/// Seconds until a silent connection is forgotten.
pub const IDLE_TIMEOUT: &str = "evenkeel.dev/idle-timeout";
/// Seconds that connections of a leaving target may live on.
pub const DRAIN: &str = "evenkeel.dev/drain";
/// The shared load balancer a Service belongs to.
pub const GROUP: &str = "evenkeel.dev/group";
/// What happens to the load balancer when its Service is deleted.
pub const RECLAIM_POLICY: &str = "evenkeel.dev/reclaim-policy";
/// Tags for the cloud objects.
pub const TAGS: &str = "evenkeel.dev/tags";
/// The digest of a plan whose destructive steps are approved.
pub const APPROVE: &str = "evenkeel.dev/approve";
/// Whether nothing is written.
pub const PAUSED: &str = "evenkeel.dev/paused";

/// Upstream's key for source ranges: it counts when neither the field nor our own key says anything.
pub const UPSTREAM_SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// What `kubectl apply` remembers. It is as large as the object and says nothing to us.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

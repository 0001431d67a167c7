//! Everything that is there, by kind and id. Decides.

use super::ec2::addresses::Address;
use super::ec2::instances::Instance;
use super::ec2::interfaces::Interface;
use super::ec2::network::{Gateway, PrefixList, RouteTable, Subnet, Vpc};
use super::ec2::security_groups::SecurityGroup;
use super::elb::listeners::Listener;
use super::elb::load_balancers::LoadBalancer;
use super::elb::target_groups::TargetGroup;
use crate::cloud::history::Replay;
use crate::table::{Change, Table};

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident: $kind:ty,)*) => {
        /// A region of an account at one moment.
        #[derive(Clone, Debug, Default)]
        pub struct State {
            $($(#[$doc])* pub $name: Table<$kind>,)*
        }

        /// What one call, or the passing of time, changed.
        #[derive(Clone, Debug, Default)]
        pub struct Changes {
            $($name: Vec<Change<$kind>>,)*
        }

        impl State {
            pub(super) fn undo(&mut self) {
                $(self.$name.undo();)*
            }

            /// The ids of what was not there before the last changes.
            pub(super) fn made(&self) -> impl Iterator<Item = String> {
                let mut all = Vec::new();
                $(all.extend(self.$name.made().map(str::to_owned));)*
                all.into_iter()
            }

            pub(super) fn take_changes(&mut self) -> Changes {
                Changes { $($name: self.$name.take_changes(),)* }
            }
        }

        impl Replay for State {
            type Changes = Changes;

            fn apply(&mut self, changes: &Changes) {
                $(self.$name.apply(&changes.$name);)*
            }
        }

        impl Changes {
            pub(super) fn is_empty(&self) -> bool {
                true $(&& self.$name.is_empty())*
            }
        }
    };
}

tables! {
    /// By id.
    vpcs: Vpc,
    /// By id.
    subnets: Subnet,
    /// By id.
    gateways: Gateway,
    /// By id.
    route_tables: RouteTable,
    /// By id.
    prefix_lists: PrefixList,
    /// By allocation id.
    addresses: Address,
    /// By id.
    instances: Instance,
    /// Those of load balancers, by id; an instance's is in the instance.
    interfaces: Interface,
    /// By id.
    security_groups: SecurityGroup,
    /// By ARN.
    load_balancers: LoadBalancer,
    /// By ARN.
    listeners: Listener,
    /// By ARN.
    target_groups: TargetGroup,
    /// Domain names by the certificates' ARNs.
    certificates: String,
}

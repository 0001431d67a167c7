use std::path::{Path, PathBuf};

use clap::Parser as _;

use super::*;
use crate::args::{Args, Command};

/// Arguments of a command line. No test reads the environment: the variables are clap's business.
fn args(line: &str) -> RunArgs {
    let words = ["evenkeel", "run"]
        .into_iter()
        .chain(line.split_whitespace());
    match Args::try_parse_from(words).expect("parses").command {
        Command::Run(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn file(text: &str) -> Option<File> {
    (!text.is_empty()).then(|| File {
        path: PathBuf::from("evenkeel.yaml"),
        text: text.to_owned(),
    })
}

fn read(line: &str, yaml: &str) -> Result<Config, String> {
    let around = Surroundings {
        root: true,
        temporary: "/tmp".into(),
        ..Surroundings::default()
    };
    let config = Config::of_run(&args(line), file(yaml).as_ref(), &around);
    config.map_err(|problems| problems.to_string())
}

fn local() -> ProviderName {
    ProviderName::from("local")
}

#[test]
fn the_least_that_can_be_said() {
    let config = read("--provider local", "").expect("enough");
    let want = Config {
        kubeconfig: None,
        context: None,
        home: HomeConfig {
            namespace: "kube-system".into(),
            instance: "evenkeel".into(),
            election: true,
            lease: Duration::from_secs(15),
        },
        cluster_name: "kubernetes".into(),
        rules: ClaimRules::new([local()]),
        listen: Some("127.0.0.1:10290".parse().expect("an address")),
        workers: 8,
        node_debounce: Duration::from_secs(2),
        node_debounce_longest: Duration::from_secs(10),
        resync: Duration::from_secs(600),
        log: LogConfig {
            filter: "info".into(),
            format: LogFormat::Text,
        },
        cloud: CloudConfig::default(),
        aws: AwsConfig::default(),
        azure: None,
        local: LocalConfig {
            socket: "/run/evenkeel/dataplane.sock".into(),
            state_dir: "/var/lib/evenkeel".into(),
            pools: vec!["127.77.0.0/24".into()],
            start: Start::Auto,
        },
    };
    assert_eq!(config, want);
    assert_eq!(
        config.rules.default_provider, None,
        "nobody's Service is taken by accident"
    );
}

#[test]
fn every_option_can_be_typed_or_written() {
    let typed = "--kubeconfig /k --context c --namespace lb --instance other --leader-election off --lease-duration 20s --cluster-name n --provider local --default-provider local --class a/b=local:lbc \
                 --listen [::1]:1 --workers 3 --node-debounce 500ms --resync 1h --log debug --log-format json --local-socket /s.sock \
                 --local-state-dir /d --local-pool 127.1.0.0/24,127.2.0.1 --local-start-dataplane never";
    let written = "{kubeconfig: /k, context: c, namespace: lb, instance: other, leader-election: off, lease-duration: 20s, cluster-name: n, provider: [local], default-provider: local, class: {a/b: 'local:lbc'}, \
                   listen: '[::1]:1', workers: 3, node-debounce: 500ms, resync: 1h, log: debug, log-format: json, local-socket: /s.sock, \
                   local-state-dir: /d, local-pool: [127.1.0.0/24, 127.2.0.1], local-start-dataplane: never}";
    let (typed, written) = (
        read(typed, "").expect("typed"),
        read("", written).expect("written"),
    );
    assert_eq!(typed, written);
    let home = HomeConfig {
        namespace: "lb".into(),
        instance: "other".into(),
        election: false,
        lease: Duration::from_secs(20),
    };
    assert_eq!(typed.home, home);
    assert_eq!(typed.kubeconfig.as_deref(), Some(Path::new("/k")));
    assert_eq!(
        typed.rules.classes["a/b"],
        ClassRule {
            provider: local(),
            profile: Profile::Lbc
        }
    );
    assert_eq!(
        typed.rules.default_provider,
        Some(ClassRule::neutral(local()))
    );
    assert_eq!(typed.node_debounce_longest, Duration::from_millis(2500));
    assert_eq!(typed.local.pools, ["127.1.0.0/24", "127.2.0.1"]);
    assert_eq!(
        (typed.local.start, typed.log.format),
        (Start::Never, LogFormat::Json)
    );
}

#[test]
fn rates_are_told_by_bucket() {
    let default = AwsConfig::default().rates;
    for (line, yaml) in [
        ("--aws-rate elb=30,register=0.5:7", ""),
        ("", "{aws-rate: {elb: 30, register: '0.5:7'}}"),
    ] {
        let rates = read(&format!("--provider aws {line}"), yaml);
        let rates = rates.expect("reads").aws.rates;
        // A rest is worth as many seconds as before.
        let rest = default.elb.burst / default.elb.per_second;
        assert_eq!(rates.elb.per_second, 30.0);
        assert!((rates.elb.burst - 30.0 * rest).abs() < 1e-9);
        let register = rates.register;
        assert_eq!((register.per_second, register.burst), (0.5, 7.0));
        assert_eq!(rates.ec2_read, default.ec2_read);
    }
}

#[test]
fn all_that_is_wrong_with_tags_for_aws_is_told_at_once() {
    let many: Vec<String> = (0..35).map(|number| format!("t{number}=v")).collect();
    let long = "v".repeat(257);
    let line = format!(
        "--provider aws --aws-tag {},aws:a=b,x\\y=z,long={long},Team --aws-external-id x",
        many.join(",")
    );
    let told = read(&line, "").expect_err("refused");
    for part in [
        "\"aws:a=b\" must not begin with aws:",
        "\"x\\\\y=z\" must be at most 128",
        "a value of at most 256",
        "\"Team\" must be KEY=VALUE",
        "\"38\" tags, with those of the operator, are ",
        "too many: AWS allows 50",
        "--aws-external-id: \"x\"",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let good = format!("--provider aws --aws-tag {}", many[..34].join(","));
    assert_eq!(read(&good, "").expect("reads").aws.tags.len(), 34);
}

#[test]
fn what_is_typed_wins_over_the_file() {
    let config = read(
        "--provider local --workers 3 --local-pool 127.1.0.1",
        "{workers: 5, resync: 5m, local-pool: [127.2.0.1]}",
    );
    let config = config.expect("reads");
    assert_eq!(
        (config.workers, config.resync),
        (3, Duration::from_secs(300))
    );
    assert_eq!(config.local.pools, ["127.1.0.1"], "lists are not mixed");
}

#[test]
fn nothing_is_served_where_listening_is_off() {
    for (line, yaml) in [
        ("--listen off", ""),
        ("", "listen: off"),
        ("", "listen: 'off'"),
    ] {
        let config = read(&format!("--provider local {line}"), yaml).expect("reads");
        assert_eq!(config.listen, None, "{line} {yaml}");
    }
}

#[test]
fn a_blank_value_is_none() {
    let config = read(
        "--provider local",
        "{workers: '', context: ' ', resync: null}",
    )
    .expect("reads");
    assert_eq!((config.workers, config.context), (8, None));
}

#[test]
fn each_mistake_names_the_option_its_value_what_is_allowed_and_what_to_do() {
    for (line, yaml, parts) in [
        (
            "",
            "",
            [
                "--provider",
                "must name at least one of aws, azure, local",
                "--provider local.",
            ],
        ),
        (
            "--provider lokal",
            "",
            [
                "--provider: \"lokal\"",
                "must be one of aws, azure, local",
                "Did you mean local?",
            ],
        ),
        (
            "--provider local --default-provider aws",
            "",
            [
                "--default-provider: \"aws\"",
                "aws, which does not run here",
                "Add --provider aws",
            ],
        ),
        (
            "--provider aws --default-provider aws:cmm",
            "",
            [
                "--default-provider: \"aws:cmm\"",
                "neutral, ccm, lbc, azure",
                "Did you mean ccm?",
            ],
        ),
        (
            "--provider aws --aws-region eu-west-1a",
            "",
            [
                "--aws-region: \"eu-west-1a\"",
                "the name of a region",
                "eu-west-1;",
            ],
        ),
        (
            "--provider aws --aws-node-ports 32767-30000",
            "",
            [
                "--aws-node-ports: \"32767-30000\"",
                "FIRST-LAST",
                "30000-32767.",
            ],
        ),
        (
            "--provider aws --aws-rate write=10",
            "",
            [
                "--aws-rate: \"write=10\"",
                "must be one of elb, register, modify, ec2-read, ec2-write",
                "Write it as elb=6 or elb=6:20",
            ],
        ),
        (
            "--provider aws",
            "{aws-rate: {elb: '6:0'}}",
            [
                "aws-rate in evenkeel.yaml: \"elb=6:0\"",
                "from 0.1 to 10000",
                "elb=6:20",
            ],
        ),
        (
            "--provider aws --aws-quota balancers=60",
            "",
            [
                "--aws-quota: \"balancers=60\"",
                "must name one of load-balancers, interfaces, target-groups",
                "Write it as load-balancers=200",
            ],
        ),
        (
            "--provider aws",
            "{aws-quota: {rules: 250}}",
            [
                "aws-quota in evenkeel.yaml: \"rules=250\"",
                "250 rules in each of 5 security groups of an interface",
                "Service Quotas",
            ],
        ),
        (
            "--provider aws --aws-tag evenkeel.dev/cluster=x",
            "",
            [
                "--aws-tag: \"evenkeel.dev/cluster=x\"",
                "must not begin with evenkeel.dev/",
                "Choose another key or value.",
            ],
        ),
        (
            "--provider aws --aws-tag Team=edge;fog",
            "",
            [
                "--aws-tag: \"Team=edge;fog\"",
                "at most 128 characters, with a value of at most 256",
                "Choose another",
            ],
        ),
        (
            "--provider aws --aws-external-id shop-7",
            "",
            [
                "--aws-external-id: \"shop-7\"",
                "is for a role to assume",
                "Set aws-assume-role too",
            ],
        ),
        (
            "--provider aws --aws-assume-role arn:aws:iam::123456789012:role/lb --aws-external-id 7",
            "",
            [
                "--aws-external-id: \"7\"",
                "2 to 1224 letters",
                "sts:ExternalId",
            ],
        ),
        (
            "--provider local --class a/b",
            "",
            [
                "--class: \"a/b\"",
                "CLASS=PROVIDER",
                "service.k8s.aws/nlb=local:lbc",
            ],
        ),
        (
            "--provider local --class a=local:lcb",
            "",
            [
                "--class: \"a=local:lcb\"",
                "neutral, ccm, lbc, azure",
                "Did you mean lbc?",
            ],
        ),
        (
            "--provider local --class a=local --class a=local:lbc",
            "",
            ["a=local:lbc", "another value", "Keep one"],
        ),
        (
            "--provider local --listen here",
            "",
            ["--listen: \"here\"", "ADDRESS:PORT", "127.0.0.1:10290"],
        ),
        (
            "--provider local --workers 0",
            "",
            ["--workers: \"0\"", "from 1 to 256", "Leave it out for 8."],
        ),
        (
            "--provider local --workers many",
            "",
            ["--workers: \"many\"", "from 1 to 256", "Leave it out"],
        ),
        (
            "--provider local --resync soon",
            "",
            ["--resync: \"soon\"", "duration", "Write it as"],
        ),
        (
            "--provider local --node-debounce 0s",
            "",
            [
                "--node-debounce: \"0s\"",
                "more than nothing",
                "leave it out for 2s",
            ],
        ),
        (
            "--provider local --log ==",
            "",
            ["--log: \"==\"", "log filter", "Write a level"],
        ),
        (
            "--provider local --log-format yaml",
            "",
            [
                "--log-format: \"yaml\"",
                "text, json",
                "Leave it out for text.",
            ],
        ),
        (
            "--provider local --local-pool 127.0.0",
            "",
            ["--local-pool: \"127.0.0\"", "a prefix", "a range"],
        ),
        (
            "--provider local --local-pool 127.1.0.9,nmae=x",
            "",
            [
                "--local-pool: \"nmae=x\"",
                "one of the options",
                "mean name?",
            ],
        ),
        (
            "--provider local --local-pool 127.1.0.9,shared=maybe",
            "",
            ["shared of --local-pool: \"maybe\"", "true or false", ""],
        ),
        (
            "--provider local --local-pool host,add-to=eth0",
            "",
            [
                "add-to of --local-pool: \"eth0\"",
                "nothing here",
                "remove it",
            ],
        ),
        (
            "--provider local",
            "local-pool: [{addresses: 127.1.0.9, per-namespace-limit: none}]",
            [
                "per-namespace-limit of local-pool in",
                "\"none\"",
                "a number from 1",
            ],
        ),
        (
            "--provider local",
            "local-pool: [{addresses: '127.1.0.8,127.1.0.9'}]",
            ["local-pool in", "must be a list", "{addresses:"],
        ),
        (
            "--provider local --local-pool 127.1.0.0/24,127.1.0.9",
            "",
            ["--local-pool", "127.1.0.9", "shares some"],
        ),
        (
            "--provider local --local-start-dataplane maybe",
            "",
            [
                "--local-start-dataplane: \"maybe\"",
                "auto, missing, never",
                "Leave it out",
            ],
        ),
        (
            "--provider local",
            "worker: 3",
            [
                "worker in evenkeel.yaml: \"worker\"",
                "is no option",
                "Did you mean workers?",
            ],
        ),
        (
            "--provider local",
            "workers: [3, 4]",
            [
                "workers in evenkeel.yaml: \"[3,4]\"",
                "a single value",
                "key: value",
            ],
        ),
        (
            "--provider local",
            "workers: none",
            [
                "workers in evenkeel.yaml: \"none\"",
                "from 1 to 256",
                "Leave it out",
            ],
        ),
        (
            "--provider local",
            "- a\n- b",
            [
                "--config: \"evenkeel.yaml\"",
                "YAML map",
                "Correct the file",
            ],
        ),
        (
            "--provider local",
            "workers: 3\nworkers: 4",
            ["--config: \"evenkeel.yaml\"", "workers", "Correct the file"],
        ),
        (
            "--provider local",
            "a: [",
            [
                "--config: \"evenkeel.yaml\"",
                "YAML map",
                "Correct the file",
            ],
        ),
    ] {
        let error = read(line, yaml).expect_err(line);
        for part in parts {
            assert!(
                error.contains(part),
                "{line} {yaml}: {part:?} is not in {error:?}"
            );
        }
    }
}

#[test]
fn all_mistakes_come_at_once() {
    let error = read(
        "--provider local --workers x --listen y",
        "{resync: z, nonsens: 1}",
    )
    .expect_err("four mistakes");
    for part in [
        "--workers",
        "--listen",
        "resync in evenkeel.yaml",
        "nonsens in evenkeel.yaml",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
}

#[test]
fn a_pod_keeps_its_objects_where_it_is() {
    let around = Surroundings {
        root: true,
        pod_namespace: Some("balancers".into()),
        temporary: "/tmp".into(),
        ..Surroundings::default()
    };
    let config = Config::of_run(&args("--provider local"), None, &around).expect("reads");
    assert_eq!(config.home.namespace, "balancers");
    let named = args("--provider local --namespace other");
    let config = Config::of_run(&named, None, &around).expect("reads");
    assert_eq!(config.home.namespace, "other");
    let wrong = "--provider local --namespace Other --instance a- --lease-duration 1s";
    let error = read(wrong, "").expect_err("three mistakes");
    for part in [
        "--namespace",
        "--instance",
        "--lease-duration",
        "5 s at least",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
}

#[test]
fn where_files_go_depends_on_who_we_are() {
    let user = Surroundings {
        root: false,
        runtime_dir: Some("/run/user/7".into()),
        state_home: Some("/home/a/state".into()),
        home: Some("/home/a".into()),
        pod_namespace: None,
        temporary: "/tmp".into(),
        ..Surroundings::default()
    };
    let bare = Surroundings {
        state_home: None,
        runtime_dir: None,
        ..user.clone()
    };
    for (name, around, socket, state) in [
        (
            "a user",
            user,
            "/run/user/7/evenkeel/dataplane.sock",
            "/home/a/state/evenkeel",
        ),
        (
            "a user without XDG",
            bare,
            "/tmp/evenkeel/dataplane.sock",
            "/home/a/.local/state/evenkeel",
        ),
    ] {
        let config = Config::of_run(&args("--provider local"), None, &around).expect("reads");
        assert_eq!(
            (config.local.socket, config.local.state_dir),
            (socket.into(), state.into()),
            "{name}"
        );
    }
}

#[test]
fn the_data_plane_reads_the_same_file() {
    let words = [
        "evenkeel",
        "dataplane",
        "--socket",
        "/s.sock",
        "--pool",
        "127.1.0.1",
    ];
    let Command::Dataplane(args) = Args::try_parse_from(words).expect("parses").command else {
        panic!("another command");
    };
    let file = file("{provider: local, local-state-dir: /d, local-pool: 127.2.0.1}");
    let around = Surroundings {
        root: true,
        ..Surroundings::default()
    };
    let config = DataplaneConfig::of_dataplane(&args, file.as_ref(), &around).expect("reads");
    assert_eq!(
        (config.local.socket, config.local.state_dir),
        ("/s.sock".into(), "/d".into())
    );
    assert_eq!(config.local.pools, ["127.1.0.1"]);
}

#[test]
fn every_flag_of_run_is_an_option_of_the_file() {
    use clap::CommandFactory as _;
    let command = Args::command();
    let run = command.find_subcommand("run").expect("is there");
    let mut flags: Vec<_> = run
        .get_arguments()
        .filter_map(|flag| flag.get_long())
        .filter(|flag| *flag != "config" && *flag != "help")
        .collect();
    let mut options: Vec<_> = sources::OPTIONS.iter().map(|(name, _)| *name).collect();
    flags.sort_unstable();
    options.sort_unstable();
    assert_eq!(flags, options);
}

#[test]
fn a_pool_with_options_is_one_value_wherever_it_stands() {
    let whole = [
        "192.0.2.10-192.0.2.20+192.0.2.30,name=office,namespaces=shop+blog,per-namespace-limit=2",
        "host,interface=eth0",
        "127.77.0.0/24",
    ];
    let typed = format!("--provider local --local-pool {}", whole.join(","));
    let written = "{provider: local, local-pool: [{addresses: [192.0.2.10-192.0.2.20, 192.0.2.30], name: office, \
                   namespaces: [shop, blog], per-namespace-limit: 2}, {addresses: host, interface: eth0}, 127.77.0.0/24]}";
    let texts = "local-pool: ['WHOLE']".replace("WHOLE", &whole.join("', '"));
    for (name, flags, file) in [
        ("typed", typed.as_str(), ""),
        ("maps", "", written),
        ("texts", "--provider local", texts.as_str()),
    ] {
        let config = read(flags, file).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        assert_eq!(config.local.pools, whole, "{name}");
        assert_eq!(config.local.dataplane().pools.len(), 3, "{name}");
    }
}

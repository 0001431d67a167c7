//! How little is asked, at the wire.

use anyhow::Result;

use super::stage::{Stage, service, settled};

/// The whole life of a Service with one port, and of one with three.
#[tokio::test]
async fn the_life_of_a_service() -> Result<()> {
    let mut stage = Stage::with_nodes(3).await?;
    // The first Service of the cluster also makes what all share.
    let first = service("first", &[80]);
    let (report, cold) = stage.serve(&first).await;
    settled(&report);
    assert_eq!(cold.of_operation("ec2:CreateSecurityGroup"), 2, "{cold}");

    for (name, ports) in [("one", &[8080_u16][..]), ("three", &[8080, 8443, 9000][..])] {
        let service = service(name, ports);
        let p = ports.len();
        let (report, made) = stage.serve(&service).await;
        settled(&report);
        assert_eq!(made.writes, 3 + 3 * p, "{made}");
        assert!(made.reads <= 1, "{made}");

        let (_, nothing) = stage.serve(&service).await;
        assert_eq!(nothing.reads + nothing.writes, 0, "{nothing}");

        let (report, looked) = stage.look(&service).await;
        settled(&report);
        assert_eq!(looked.writes, 0, "{looked}");
        // A load balancer that was just made is also asked whether it is active.
        assert!(looked.reads <= 2 + p, "{looked}");
        let (_, looked) = stage.look(&service).await;
        assert!(looked.reads <= 1 + p && looked.writes == 0, "{looked}");

        let state = stage.state().await?;
        assert_eq!(state.load_balancers().len(), 2, "{state}");
        assert_eq!(state.target_groups().len(), 1 + p, "{state}");

        stage.join(1).await?;
        let (report, joined) = stage.serve(&service).await;
        settled(&report);
        assert_eq!(joined.writes, p, "{joined}");
        assert_eq!(joined.of_operation("elbv2:RegisterTargets"), p, "{joined}");
        assert!(joined.reads <= 1, "{joined}");

        let (report, gone) = stage.release(&service).await;
        assert!(report.gone, "{report:#?}");
        assert_eq!(gone.writes, 2 + p, "{gone}");
        assert!(gone.reads <= 2, "{gone}");
    }
    let state = stage.state().await?;
    assert_eq!(state.load_balancers().len(), 1, "{state}");
    stage.aws.check()
}

/// A choice of nodes costs what its targets cost, and one tag of each target group; labels that nobody asked for cost nothing.
#[tokio::test]
async fn nodes_by_their_labels() -> Result<()> {
    let mut stage = Stage::with_nodes(4).await?;
    let plain = service("chosen", &[80, 443]);
    settled(&stage.serve(&plain).await.0);
    settled(&stage.look(&plain).await.0);
    stage.pool(&[0, 1]);
    let (report, nothing) = stage.serve(&plain).await;
    settled(&report);
    assert_eq!(nothing.reads + nothing.writes, 0, "{nothing}");

    let mut chosen = plain.clone();
    let key = "service.beta.kubernetes.io/aws-load-balancer-target-node-labels";
    chosen.annotations.insert(key.into(), "pool=edge".into());
    let expect = async |stage: &Stage, (register, deregister, tag), numbers: &[usize]| {
        let (report, asked) = stage.serve(&chosen).await;
        settled(&report);
        let keys: Vec<_> = report.node_labels.iter().map(|key| &**key).collect();
        assert_eq!(keys, ["pool"]);
        let of = |operation| asked.of_operation(operation);
        assert_eq!(of("elbv2:RegisterTargets"), register, "{asked}");
        assert_eq!(of("elbv2:DeregisterTargets"), deregister, "{asked}");
        assert_eq!(of("elbv2:AddTags"), tag, "{asked}");
        assert_eq!(asked.writes, register + deregister + tag, "{asked}");
        let state = stage.state().await?;
        let mut ids: Vec<_> = numbers
            .iter()
            .map(|number| stage.world.nodes[*number].instance_id.clone())
            .collect();
        ids.sort();
        for group in state.target_groups() {
            let targets = group["Targets"].as_array().expect("targets").iter();
            let mut found: Vec<_> = targets
                .map(|target| target["Target"]["Id"].as_str().expect("an id").to_owned())
                .collect();
            found.sort();
            assert_eq!(found, ids, "{group:#}");
        }
        anyhow::Ok(asked)
    };
    let asked = expect(&stage, (0, 2, 2), &[0, 1]).await?;
    assert_eq!(asked.reads, 0, "{asked}");
    stage.pool(&[0, 1, 2]);
    expect(&stage, (2, 0, 0), &[0, 1, 2]).await?;
    stage.pool(&[0, 2]);
    expect(&stage, (0, 2, 0), &[0, 2]).await?;
    // The tag tells the process after this one that there is nothing to do.
    stage.restart().await?;
    expect(&stage, (0, 0, 0), &[0, 2]).await?;
    stage.pool(&[0, 2, 3]);
    expect(&stage, (2, 0, 0), &[0, 2, 3]).await?;
    stage.aws.check()
}

/// A restart with nothing changed costs pages only.
#[tokio::test]
async fn a_restart() -> Result<()> {
    let mut stage = Stage::with_nodes(3).await?;
    let services: Vec<_> = (0..5).map(|n| service(&format!("s{n}"), &[80])).collect();
    for service in &services {
        settled(&stage.serve(service).await.0);
    }
    let mark = stage.aws.calls().mark();
    stage.restart().await?;
    for service in &services {
        settled(&stage.serve(service).await.0);
    }
    let asked = stage.aws.calls().count_since(mark);
    assert_eq!(asked.writes, 0, "{asked}");
    // VPC and zones by node, subnets; load balancers, target groups, security groups, their tags; node groups, instances.
    assert!(asked.reads <= 12, "{asked}");
    stage.aws.check()
}

/// Many Services at once on a cold cluster: what all share is looked at and made once.
#[tokio::test]
async fn many_at_once() -> Result<()> {
    const MANY: usize = 20;
    let stage = Stage::with_nodes(5).await?;
    let services: Vec<_> = (0..MANY)
        .map(|n| service(&format!("s{n}"), &[80]))
        .collect();
    let mark = stage.aws.calls().mark();
    let reports = futures::future::join_all(services.iter().map(|one| stage.serve(one))).await;
    for (report, _) in &reports {
        settled(report);
    }
    let made = stage.aws.calls().count_since(mark);
    // The backend group, and its admission by the one node group.
    assert_eq!(made.writes, 6 * MANY + 2, "{made}");
    assert_eq!(
        made.of_operation("elbv2:DescribeLoadBalancers"),
        1,
        "{made}"
    );
    assert_eq!(made.of_operation("elbv2:DescribeTargetGroups"), 1, "{made}");
    assert_eq!(made.of_operation("ec2:DescribeSubnets"), 1, "{made}");
    assert!(made.reads <= 12, "{made}");

    let mark = stage.aws.calls().mark();
    let reports = futures::future::join_all(services.iter().map(|one| stage.release(one))).await;
    assert!(reports.iter().all(|(report, _)| report.gone));
    let gone = stage.aws.calls().count_since(mark);
    assert_eq!(gone.writes, 3 * MANY, "{gone}");
    assert!(gone.reads <= 2 * MANY, "{gone}");
    stage.aws.check()
}

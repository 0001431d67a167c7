//! How little is asked, at the wire.

use anyhow::Result;

use crate::stage::{Stage, service, settled};

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

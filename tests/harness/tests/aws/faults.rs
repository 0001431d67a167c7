//! Each fault does what it says, to the call that is meant, once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use evenkeel_harness::aws::{At, Aws, Call, Fault, Watcher};
use evenkeel_harness::wait::eventually;
use serde_json::json;

use crate::{SOON, create_target_group, post};

const ELB: &str = "elasticloadbalancing";

/// A target group is made under a fault; what the caller saw, and whether it is there.
async fn under(aws: &Aws, fault: Fault, name: &str) -> Result<(Option<(u16, String)>, bool)> {
    let vpcs = aws.client().call("ec2", "DescribeVpcs", json!({})).await?;
    let vpc_id = vpcs["Vpcs"][0]["VpcId"].as_str().context("no VPC")?;
    let at = At::first("elbv2", "CreateTargetGroup").occurrence(2);
    let injected = aws.inject(&at, fault);
    let form = |name: &str| create_target_group(name, vpc_id);
    // The first call passes: the second is meant.
    let (status, body) = post(aws, ELB, &form(&format!("{name}-first"))).await?;
    assert_eq!(status, 200, "{body}");
    let seen = post(aws, ELB, &form(name)).await.ok();
    injected.check(1).await?;
    // A fault passes.
    let third = || post(aws, ELB, "Action=DescribeTargetGroups&Version=2015-12-01");
    let (status, body) = eventually("the proxy to listen again", SOON, third).await?;
    assert_eq!(status, 200, "{body}");
    let made = aws.state().await?.target_group(name).is_ok();
    Ok((seen, made))
}

#[tokio::test]
async fn faults_that_pass_do_what_they_say() -> Result<()> {
    let aws = Aws::moto().await?;
    for (name, fault, status, text) in [
        (
            "refused",
            Fault::Refused(Duration::from_millis(100)),
            None,
            "",
        ),
        ("reset", Fault::Reset, None, ""),
        (
            "before",
            Fault::ErrorBefore,
            Some(500),
            "<Code>InternalFailure</Code>",
        ),
        (
            "after",
            Fault::ErrorAfter,
            Some(500),
            "<Code>InternalFailure</Code>",
        ),
        ("lost", Fault::ReplyLost, None, ""),
        (
            "slow",
            Fault::Slow(Duration::from_millis(50)),
            Some(200),
            "<TargetGroupArn>",
        ),
        (
            "throttled",
            Fault::Throttled,
            Some(400),
            "<Code>Throttling</Code>",
        ),
        (
            "answer",
            Fault::answer("TooManyTargetGroups", "a < b"),
            Some(400),
            "<Code>TooManyTargetGroups</Code><Message>a &lt; b",
        ),
    ] {
        let takes_effect = fault.takes_effect();
        let (seen, made) = under(&aws, fault, name).await?;
        let expected = status.map(|status| (status, true));
        let seen = seen.map(|(status, body)| (status, body.contains(text)));
        assert_eq!(seen, expected, "{name}");
        assert_eq!(made, takes_effect, "{name}");
        let calls = aws.calls().all();
        let broken = calls
            .iter()
            .find(|call| call.parameters["Name"] == name)
            .context("not recorded")?;
        assert!(broken.fault.is_some(), "{broken}");
        assert_eq!(broken.status, status, "{broken}");
    }
    Ok(())
}

#[tokio::test]
async fn each_service_is_throttled_in_its_own_words() -> Result<()> {
    let aws = Aws::moto().await?;
    for (service, signing_name, form, status, text) in [
        (
            "elbv2",
            ELB,
            "Action=DescribeLoadBalancers&Version=2015-12-01",
            400,
            "<Error><Type>Sender</Type><Code>Throttling</Code>",
        ),
        (
            "ec2",
            "ec2",
            "Action=DescribeVpcs&Version=2016-11-15",
            503,
            "<Response><Errors><Error><Code>RequestLimitExceeded</Code>",
        ),
    ] {
        let operation = form.split(['=', '&']).nth(1).unwrap_or_default();
        let injected = aws.inject(&At::first(service, operation).times(2), Fault::Throttled);
        for expected in [status, status, 200] {
            let (status, body) = post(&aws, signing_name, form).await?;
            assert_eq!(status, expected, "{body}");
            assert!(status == 200 || body.contains(text), "{body}");
        }
        injected.check(2).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_held_call_lets_its_caller_be_ended_there() -> Result<()> {
    let aws = Aws::moto().await?;
    let vpcs = aws.client().call("ec2", "DescribeVpcs", json!({})).await?;
    let vpc_id = vpcs["Vpcs"][0]["VpcId"].as_str().context("no VPC")?;
    for (name, fault) in [("before", Fault::HoldBefore), ("after", Fault::HoldAfter)] {
        let takes_effect = fault.takes_effect();
        let injected = aws.inject(&At::first("elbv2", "CreateTargetGroup"), fault);
        let form = create_target_group(name, vpc_id);
        tokio::select! {
            reply = post(&aws, ELB, &form) => panic!("held, yet answered: {reply:?}"),
            fired = injected.wait(SOON) => fired?,
        }
        if takes_effect {
            eventually("the held call's effect", SOON, async || {
                aws.state().await?.target_group(name).map(drop)
            })
            .await?;
        }
        let (status, body) =
            post(&aws, ELB, "Action=DescribeTargetGroups&Version=2015-12-01").await?;
        assert_eq!(status, 200);
        assert_eq!(body.contains(name), takes_effect, "{body}");
    }
    Ok(())
}

#[tokio::test]
async fn a_fault_that_never_fired_fails_its_test() -> Result<()> {
    let aws = Aws::moto().await?;
    let injected = aws.inject(&At::first("elbv2", "DeleteLoadBalancer"), Fault::Reset);
    let error = injected.check(1).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Reset at call 1 of elbv2:DeleteLoadBalancer: it fired 0 times, not 1"
    );
    assert!(injected.wait(Duration::from_millis(10)).await.is_err());
    assert!(
        aws.inject_by_microburst(&At::first("elbv2", "A"), &Fault::Reset)
            .await
            .is_err()
    );
    Ok(())
}

#[tokio::test]
async fn microburst_loses_replies_and_throttles() -> Result<()> {
    let aws = Aws::moto_behind_microburst().await?;
    let vpcs = aws.client().call("ec2", "DescribeVpcs", json!({})).await?;
    let vpc_id = vpcs["Vpcs"][0]["VpcId"].as_str().context("no VPC")?;
    let second = At::first("elbv2", "CreateTargetGroup").occurrence(2);
    let lost = aws.inject_by_microburst(&second, &Fault::ReplyLost).await?;
    let form = |name: &str| create_target_group(name, vpc_id);
    assert_eq!(post(&aws, ELB, &form("one")).await?.0, 200);
    lost.check(0).await?;
    let reply = post(&aws, ELB, &form("two")).await;
    assert!(reply.is_err(), "{reply:?}");
    lost.check(1).await?;
    aws.state().await?.target_group("two")?;
    assert_eq!(post(&aws, ELB, &form("three")).await?.0, 200);

    let describe = At::first("ec2", "DescribeVpcs");
    let throttled = aws
        .inject_by_microburst(&describe, &Fault::Throttled)
        .await?;
    let form = "Action=DescribeVpcs&Version=2016-11-15";
    let (status, body) = post(&aws, "ec2", form).await?;
    assert_eq!(status, 503, "{body}");
    assert!(
        body.contains("<Response><Errors><Error><Code>RequestLimitExceeded</Code>"),
        "{body}"
    );
    assert_eq!(post(&aws, "ec2", form).await?.0, 200);
    throttled.check(1).await?;
    let again = aws
        .inject_by_microburst(
            &At::first("elbv2", "DescribeTargetGroups"),
            &Fault::Throttled,
        )
        .await?;
    let (status, body) = post(&aws, ELB, "Action=DescribeTargetGroups&Version=2015-12-01").await?;
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("<Code>Throttling</Code>"), "{body}");
    again.check(1).await?;
    lost.check(1).await?;
    let impossible = aws.inject_by_microburst(&describe, &Fault::HoldAfter).await;
    assert!(impossible.is_err(), "{impossible:?}");
    Ok(())
}

/// Notes what it sees, and breaks what it is told to.
#[derive(Debug, Default)]
struct Witness {
    seen: Mutex<Vec<String>>,
    fault: Mutex<Option<Fault>>,
}

#[async_trait]
impl Watcher for Witness {
    async fn arrived(&self, call: &Call) -> Option<Fault> {
        self.seen.lock().unwrap().push(call.operation.clone());
        self.fault.lock().unwrap().take()
    }

    async fn took_effect(&self, call: &Call) {
        let status = call.status.unwrap_or_default();
        self.seen
            .lock()
            .unwrap()
            .push(format!("{} {status}", call.operation));
    }
}

#[tokio::test]
async fn whoever_watches_sees_each_call_twice_and_may_break_it() -> Result<()> {
    let aws = Aws::moto().await?;
    let witness = Arc::new(Witness::default());
    aws.watch(witness.clone())?;
    assert!(aws.watch(witness.clone()).is_err(), "one is enough");
    let seen = || std::mem::take(&mut *witness.seen.lock().unwrap());
    let form = "Action=DescribeLoadBalancers&Version=2015-12-01";
    for (fault, status, expected) in [
        (
            None,
            Some(200),
            vec!["DescribeLoadBalancers", "DescribeLoadBalancers 200"],
        ),
        (
            Some(Fault::Throttled),
            Some(400),
            vec!["DescribeLoadBalancers"],
        ),
        (
            Some(Fault::ReplyLost),
            None,
            vec!["DescribeLoadBalancers", "DescribeLoadBalancers 200"],
        ),
    ] {
        *witness.fault.lock().unwrap() = fault;
        let reply = post(&aws, ELB, form).await.ok();
        assert_eq!(reply.map(|reply| reply.0), status);
        assert_eq!(seen(), expected);
    }
    // Nobody hears of the reply, yet the effect is told.
    *witness.fault.lock().unwrap() = Some(Fault::HoldAfter);
    tokio::select! {
        reply = post(&aws, ELB, form) => panic!("held, yet answered: {reply:?}"),
        told = eventually("the effect to be told", SOON, async || {
            anyhow::ensure!(witness.seen.lock().unwrap().len() == 2);
            Ok(())
        }) => told?,
    }
    Ok(())
}

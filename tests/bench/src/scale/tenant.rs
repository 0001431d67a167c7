//! Somebody else of the same account, who reads once a second. Writes: requests on 127.0.0.1.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use evenkeel_harness::{aws::Aws, fake_aws::FakeAws};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{MissedTickBehavior, interval},
};
use tokio_util::task::AbortOnDropHandle;

/// Whose requests these are.
pub const KEY: &str = "TENANT";

/// What is read, each once a second: a read of ELB's, and of EC2's those that we make most.
const READS: [(&str, &str); 3] = [
    (
        "elasticloadbalancing",
        "Action=DescribeLoadBalancers&Version=2015-12-01&PageSize=1",
    ),
    (
        "ec2",
        "Action=DescribeSecurityGroups&Version=2016-11-15&MaxResults=5",
    ),
    (
        "ec2",
        "Action=DescribeInstances&Version=2016-11-15&MaxResults=5",
    ),
];

/// The tenant, who asks until this is dropped.
#[derive(Debug)]
pub struct Tenant {
    fake: Arc<FakeAws>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Tenant {
    /// Asks once in each second of the cloud's time, of which so many pass in one.
    ///
    /// # Errors
    /// When this corner of AWS is not the fake.
    pub fn start(aws: &Aws, pace: u32) -> Result<Self> {
        let fake = Arc::clone(aws.as_fake().context("the fake")?);
        let tasks = READS.map(|(service, form)| {
            let address = aws.endpoint().trim_start_matches("http://").to_owned();
            let scope = format!("{KEY}/20260101/{}/{service}/aws4_request", aws.region());
            AbortOnDropHandle::new(tokio::spawn(async move {
                let mut seconds = interval(Duration::from_secs(1) / pace);
                seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    seconds.tick().await;
                    // Whether it was refused, the fake tells.
                    let _ = ask(&address, &scope, form).await;
                }
            }))
        });
        Ok(Self {
            fake,
            _tasks: tasks.into(),
        })
    }

    /// How often it has asked, and how often it was refused.
    #[must_use]
    pub fn asked(&self) -> (usize, usize) {
        let taken = self.fake.taken();
        let own = taken.iter().filter(|one| one.by == KEY);
        let refused = own.clone().filter(|one| one.throttled);
        (own.count(), refused.count())
    }
}

async fn ask(address: &str, scope: &str, form: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nX-Amz-Date: 20260101T000000Z\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

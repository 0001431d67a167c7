//! The process that is measured, from outside: this program once more, told what to do line by line. Writes: a process.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use evenkeel_harness::aws::{Aws, World};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::engine::{Answer, Node, Order, Place};
use crate::system::Cost;

/// The process. Dropping it ends it.
#[derive(Debug)]
pub struct Controller {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Controller {
    /// Starts one that remembers nothing, for this cluster.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub async fn start(aws: &Aws, world: &World) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--engine")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start this program once more")?;
        let mut controller = Self {
            orders: process.stdin.take().context("no standard input")?,
            answers: BufReader::new(process.stdout.take().context("no standard output")?).lines(),
            _process: process,
        };
        let key = aws.access_key();
        let place = Place {
            cluster: world.cluster.clone(),
            region: aws.region().to_owned(),
            endpoint: aws.endpoint(),
            key: key.id,
            secret: key.secret,
        };
        controller.order(&Order::Begin(place)).await?;
        controller.learn_nodes(world).await?;
        Ok(controller)
    }

    /// Tells it of the cluster's nodes.
    ///
    /// # Errors
    /// When the process has ended.
    pub async fn learn_nodes(&mut self, world: &World) -> Result<()> {
        let nodes = world.nodes.iter().map(|node| Node {
            name: node.private_dns_name.clone(),
            provider_id: node.provider_id(),
            zone: node.zone.clone(),
        });
        self.order(&Order::Nodes(nodes.collect())).await?;
        Ok(())
    }

    /// Has it do something, until it is done; what the process has cost so far.
    ///
    /// # Errors
    /// When it does not succeed, or the process has ended.
    pub async fn order(&mut self, order: &Order) -> Result<Cost> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders.write_all(&line).await?;
        let answer = self.answers.next_line().await?;
        let answer = answer.context("the process that is measured has ended")?;
        serde_json::from_str::<Answer>(&answer)?.map_err(anyhow::Error::msg)
    }
}

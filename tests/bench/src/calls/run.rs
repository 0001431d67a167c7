//! Makes things happen to Services and counts what that asks. Reads and Writes: moto, a process.

use anyhow::{Context as _, Result};
use evenkeel_harness::{
    aws::{Aws, Counts, World, WorldOptions},
    progress::Progress,
};

use super::{
    controller::Controller,
    engine::{Order, Service},
    page::Results,
    row::{Amount, Row, Scale},
};
use crate::system::Cost;

/// Everything in the table.
///
/// # Errors
/// When an emulator cannot be had, or the provider does not do what it is told.
pub async fn run(scale: Scale, progress: &Progress) -> Result<Results> {
    let mut bench = Bench {
        scale,
        progress,
        results: Results::new(),
    };
    bench.lives().await?;
    bench.many().await?;
    Ok(bench.results)
}

struct Bench<'a> {
    scale: Scale,
    progress: &'a Progress,
    results: Results,
}

/// A cluster in a corner of AWS, and its controller.
struct Stage {
    aws: Aws,
    world: World,
    controller: Controller,
}

impl Stage {
    async fn new(nodes: usize) -> Result<Self> {
        let aws = Aws::moto().await?;
        let options = WorldOptions {
            nodes,
            ..WorldOptions::default()
        };
        let world = World::build(aws.client(), &options).await?;
        Ok(Self {
            controller: Controller::start(&aws, &world).await?,
            aws,
            world,
        })
    }

    /// A node joins; the controller has not heard of it yet.
    async fn join(&mut self) -> Result<()> {
        self.world.add_nodes(self.aws.client(), 1).await?;
        self.controller.learn_nodes(&self.world).await
    }

    /// Has the controller do something, and counts what that asks.
    async fn counted(&mut self, orders: &[Order]) -> Result<(Counts, Cost)> {
        let mark = self.aws.calls().mark();
        let mut cost = Cost::default();
        for order in orders {
            cost = self.controller.order(order).await?;
        }
        self.aws.check()?;
        Ok((self.aws.calls().count_since(mark), cost))
    }
}

fn serve(services: &[Service]) -> Order {
    Order::Serve {
        services: services.to_vec(),
        look: false,
    }
}

fn look(services: &[Service]) -> Order {
    Order::Serve {
        services: services.to_vec(),
        look: true,
    }
}

impl Bench<'_> {
    async fn count(&mut self, row: Row, stage: &mut Stage, orders: &[Order]) -> Result<Cost> {
        let title = row.title(self.scale);
        let (counts, cost) = stage.counted(orders).await.with_context(|| title.clone())?;
        self.progress.note(&format!("{title}: {counts}"));
        let amount = Amount::Calls {
            writes: counts.writes,
            reads: counts.reads,
        };
        self.results.insert(row, amount);
        Ok(cost)
    }

    /// The lives of single Services.
    async fn lives(&mut self) -> Result<()> {
        const PORTS: [usize; 2] = [1, 3];
        // One node joins in each life.
        let mut stage = Stage::new(self.scale.nodes - PORTS.len()).await?;
        // What all share is there with the first.
        stage.counted(&[serve(&[Service::new("first", 1)])]).await?;
        for ports in PORTS {
            let mut service = Service::new(format!("shop-{ports}"), ports);
            let of = |service: &Service| [service.clone()];
            self.count(Row::Create(ports), &mut stage, &[serve(&of(&service))])
                .await?;
            service.annotated = true;
            self.count(Row::Nothing(ports), &mut stage, &[serve(&of(&service))])
                .await?;
            // The first look also asks whether the new load balancer is active by now.
            stage.counted(&[look(&of(&service))]).await?;
            self.count(Row::Look(ports), &mut stage, &[look(&of(&service))])
                .await?;
            stage.join().await?;
            self.count(Row::Join(ports), &mut stage, &[serve(&of(&service))])
                .await?;
            self.count(
                Row::Delete(ports),
                &mut stage,
                &[Order::Release(of(&service).to_vec())],
            )
            .await?;
        }
        Ok(())
    }

    /// Many Services together.
    async fn many(&mut self) -> Result<()> {
        let Scale { services, nodes } = self.scale;
        let services: Vec<_> = (0..services)
            .map(|number| Service::new(format!("shop-{number}"), 1))
            .collect();
        let mut stage = Stage::new(nodes).await?;
        let cost = self
            .count(Row::CreateAll, &mut stage, &[serve(&services)])
            .await?;
        self.results.insert(Row::Memory, Amount::Memory(cost.peak));
        self.results.insert(Row::Cpu, Amount::Cpu(cost.cpu));

        stage.controller = Controller::start(&stage.aws, &stage.world).await?;
        let restart = [Order::Inventory, serve(&services)];
        let cost = self.count(Row::Restart, &mut stage, &restart).await?;
        self.progress.note(&format!("to restart: {cost}"));

        stage.join().await?;
        self.count(Row::JoinAll, &mut stage, &[serve(&services)])
            .await?;
        self.count(Row::DeleteAll, &mut stage, &[Order::Release(services)])
            .await?;
        Ok(())
    }
}

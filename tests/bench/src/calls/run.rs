//! Makes things happen to Services and counts what that asks. Reads and Writes: through the stage.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use evenkeel_harness::progress::Progress;

use super::{
    page::Results,
    row::{Amount, Row, Scale},
    stage::{RESYNC, Stage},
};
use crate::system::Cost;

/// Everything in the table.
///
/// # Errors
/// When a part of the stage cannot be had, or the program does not do what it is for.
pub async fn run(program: &Path, scale: Scale, progress: &Progress) -> Result<Results> {
    let mut bench = Bench {
        program,
        scale,
        progress,
        results: Results::default(),
    };
    let size = std::fs::metadata(program)?.len();
    bench.insert(Row::Size, Amount::Size(size));
    bench.lives().await?;
    bench.many().await?;
    Ok(bench.results)
}

struct Bench<'a> {
    program: &'a Path,
    scale: Scale,
    progress: &'a Progress,
    results: Results,
}

impl Bench<'_> {
    fn insert(&mut self, row: Row, amount: Amount) {
        self.results.amounts.insert(row, amount);
    }

    /// Of several amounts the greatest.
    fn at_most(&mut self, row: Row, amount: Amount) {
        let known = self.results.amounts.get(&row);
        if known.is_none_or(|known| known.is_within(&amount)) {
            self.insert(row, amount);
        }
    }

    /// Makes something happen and counts what that asks, until all of it is done. What the controller has cost when the event was over.
    async fn event(
        &mut self,
        row: Row,
        stage: &mut Stage,
        happen: impl AsyncFnOnce(&mut Stage) -> Result<()>,
    ) -> Result<Cost> {
        let title = row.title(self.scale);
        let (mark, began) = (stage.mark(), Instant::now());
        happen(stage).await.with_context(|| title.clone())?;
        let (took, cost) = (began.elapsed(), stage.controller.cost()?);
        stage.silence().await.with_context(|| title.clone())?;
        let (counted, _) = stage.counted(mark).with_context(|| title.clone())?;
        let amount = counted.amount();
        self.progress.note(&format!(
            "{title}: {amount}; {:.1} s, {cost}",
            took.as_secs_f64()
        ));
        self.insert(row, amount);
        self.results.calls.insert(row, counted);
        Ok(cost)
    }

    /// A new controller that finds everything as it was left.
    async fn restart(&mut self, row: Row, stage: Stage) -> Result<Stage> {
        let mark = stage.mark();
        let mut stage = stage.restart(RESYNC).await?;
        stage.silence().await?;
        let (counted, cost) = stage.counted(mark)?;
        self.progress.note(&format!(
            "{}: ready after {:.2} s; {cost}",
            row.title(self.scale),
            stage.controller.ready.as_secs_f64()
        ));
        self.insert(row, counted.amount());
        self.results.calls.insert(row, counted);
        Ok(stage)
    }

    /// Looks at this many Services, by a controller whose looks come soon. It leaves one that has its defaults again.
    async fn looks(&mut self, row: Row, stage: Stage, services: usize) -> Result<Stage> {
        /// How often a single Service is looked at: its looks must not fall together with what comes before.
        const SINGLE: Duration = Duration::from_secs(15);
        /// Asked once in each look.
        const LOOK: &str = "elbv2:DescribeListeners";
        let mark = stage.mark();
        let resync = if services == 1 {
            SINGLE
        } else {
            self.scale.resync
        };
        let mut stage = stage.restart(resync).await?;
        // The first look of a process also reads the tags of listeners.
        stage.called(mark, LOOK, services).await?;
        stage.silence().await?;
        let cost = self
            .event(row, &mut stage, async |stage| {
                stage.called(stage.mark(), LOOK, services).await
            })
            .await?;
        if row == Row::LookAll {
            self.at_most(Row::Memory, Amount::Memory(cost.peak));
        }
        // On a busy machine some were looked at once more.
        if let Some(counted) = self.results.calls.get(&row) {
            let looks = counted.reads.of_operation(LOOK);
            let reads = (counted.reads.reads * services).div_ceil(looks);
            let writes = counted.writes.writes;
            self.insert(row, Amount::Calls { writes, reads });
        }
        let stage = stage.restart(RESYNC).await?;
        // The first write of a process has another before it: the mark by which it is told from that of a restored backup.
        let first = ["first-write".to_owned()];
        stage.create(&first, 1).await?;
        stage.delete(&first).await?;
        stage.silence().await?;
        Ok(stage)
    }

    /// The lives of single Services, one after the other: only one is there when a node joins, and when looks are counted.
    async fn lives(&mut self) -> Result<()> {
        const PORTS: [usize; 2] = [1, 3];
        // One node joins in each life.
        let nodes = self.scale.nodes - PORTS.len();
        let mut stage = Stage::new(self.program, nodes, self.scale.silence).await?;
        // What all share is there with the first.
        let mut before = ["first".to_owned()];
        stage.create(&before, 1).await?;
        stage.silence().await?;
        for ports in PORTS {
            let names = [format!("shop-{ports}")];
            self.event(Row::Create(ports), &mut stage, async |stage| {
                stage.create(&names, ports).await
            })
            .await?;
            let delete = async |stage: &mut Stage| stage.delete(&before).await;
            self.event(Row::Delete(1), &mut stage, delete).await?;
            self.event(Row::Nothing(ports), &mut stage, async |stage| {
                stage.annotate(&names[0]).await
            })
            .await?;
            self.event(Row::Join(ports), &mut stage, async |stage| {
                let mark = stage.mark();
                stage.join().await?;
                stage.called(mark, "elbv2:RegisterTargets", ports).await
            })
            .await?;
            stage = self.looks(Row::Look(ports), stage, 1).await?;
            before = names;
        }
        let delete = async |stage: &mut Stage| stage.delete(&before).await;
        self.event(Row::Delete(3), &mut stage, delete).await?;
        stage.stop().await
    }

    /// Many Services together.
    async fn many(&mut self) -> Result<()> {
        let Scale {
            services,
            nodes,
            more,
            silence,
            ..
        } = self.scale;
        let names: Vec<_> = (0..more).map(|number| format!("shop-{number}")).collect();
        let (names, further) = names.split_at(services);
        let mut stage = Stage::new(self.program, nodes, silence).await?;
        self.at_most(Row::Ready, Amount::Time(stage.controller.ready));
        let create = async |stage: &mut Stage| stage.create(names, 1).await;
        let cost = self.event(Row::CreateAll, &mut stage, create).await?;
        self.insert(Row::Cpu, Amount::Time(cost.cpu));
        self.at_most(Row::Memory, Amount::Memory(cost.peak));

        stage = self.restart(Row::Restart, stage).await?;
        self.at_most(Row::Ready, Amount::Time(stage.controller.ready));
        stage = self.looks(Row::LookAll, stage, services).await?;
        let join = async |stage: &mut Stage| {
            let mark = stage.mark();
            stage.join().await?;
            let all = names.len();
            stage.called(mark, "elbv2:RegisterTargets", all).await
        };
        self.event(Row::JoinAll, &mut stage, join).await?;
        let delete = async |stage: &mut Stage| stage.delete(names).await;
        let cost = self.event(Row::DeleteAll, &mut stage, delete).await?;
        self.at_most(Row::Memory, Amount::Memory(cost.peak));

        stage.create(names, 1).await?;
        stage.create(further, 1).await?;
        stage.silence().await?;
        stage = self.restart(Row::RestartMore, stage).await?;
        stage.stop().await
    }
}

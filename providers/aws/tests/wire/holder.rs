//! Two clusters with one identity, of which one was restored from a backup of the other: they are noticed and stop. One cluster whose
//! processes come and go never is.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use evenkeel_aws::{Aws, Context as Decides, client::Client};
use evenkeel_core::{
    engine::{Ask, Report},
    error::{CloudError, ErrorClass, ProviderFault},
    group::Group,
    holder::{Ledger, Record},
    ids::Cluster,
    ids::GroupKey,
    intent::Intent,
    ticket::Ticket,
};
use evenkeel_harness::aws::{At, Fault};

use super::stage::{CLUSTER, Controller, Stage, as_it_is, config, service, settled};

/// What a cluster remembers. A clone of the record is a backup.
#[derive(Debug, Default)]
struct Memory {
    record: Mutex<Record>,
    /// Of the cluster, so that no two processes have one name.
    name: &'static str,
    count: AtomicUsize,
    /// It cannot be reached.
    is_down: Mutex<bool>,
}

impl Memory {
    fn of(name: &'static str, record: Record) -> Arc<Self> {
        Arc::new(Self {
            name,
            record: Mutex::new(record),
            ..Self::default()
        })
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("nobody panics with it")
    }

    fn answer(&self) -> Result<(), CloudError> {
        match *self.is_down.lock().expect("nobody panics with it") {
            true => Err(CloudError::new(ErrorClass::Transient, "marks", "no answer")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Ledger for Memory {
    fn installation(&self) -> &str {
        "kube-system/evenkeel"
    }

    fn new_mark(&self) -> String {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{}/{number}", self.name)
    }

    fn way_out(&self, mark: &str) -> String {
        format!("take over from {mark}")
    }

    async fn read(&self) -> Result<Option<Record>, CloudError> {
        self.answer()?;
        Ok(Some(self.record().clone()))
    }

    async fn write(&self, record: &Record) -> Result<bool, CloudError> {
        self.answer()?;
        *self.record() = record.clone();
        Ok(true)
    }
}

/// A process of a cluster that has this memory. With it every look looks at the whole region.
fn process(stage: &Stage, memory: &Arc<Memory>) -> Controller {
    let cluster = Cluster::new(CLUSTER, &*stage.world.cluster);
    let context = Decides {
        sweep: std::time::Duration::ZERO,
        ..Decides::new(cluster)
    };
    let client = Client::new(config(&stage.aws, &stage.world));
    let engine = as_it_is(Aws::new(context, client));
    engine.hold(Arc::clone(memory) as Arc<dyn Ledger>, Ticket::unlimited());
    engine
}

/// Has a process look at a Service, and tells how many writes that made.
async fn look(stage: &mut Stage, engine: Controller, shop: &Intent) -> (Controller, Report, usize) {
    let before = std::mem::replace(&mut stage.engine, engine);
    let cluster = Cluster::new(CLUSTER, &*stage.world.cluster);
    let key = GroupKey::Service(shop.service.clone());
    let ask = Ask::Serve(Group::single(cluster, shop.clone()));
    let (report, asked) = stage.run(&key, ask, true).await;
    (
        std::mem::replace(&mut stage.engine, before),
        report,
        asked.writes,
    )
}

fn stopped(report: &Report) -> Result<&str> {
    let failure = report.failures.first().context("it failed")?;
    ensure!(
        failure.of_provider == Some(ProviderFault::AnotherCluster),
        "{report:#?}"
    );
    Ok(&failure.message)
}

fn wider() -> Intent {
    service("shop", &[80, 443])
}

/// Each process marks before its first write, and only then: one that has nothing to do writes nothing.
#[tokio::test]
async fn one_cluster_is_never_taken_for_two() -> Result<()> {
    let mut stage = Stage::with_nodes(2).await?;
    let ours = Memory::of("ours", Record::default());
    let shop = service("shop", &[80]);
    let engine = process(&stage, &ours);
    let (_, report, writes) = look(&mut stage, engine, &shop).await;
    settled(&report);
    // As without a mark, which is part of the group: two groups, two rules, target group, targets, load balancer, listener.
    assert_eq!(writes, 8);
    let mut asked = shop;
    for ports in [&[80_u16, 443][..], &[80], &[443]] {
        let engine = process(&stage, &ours);
        engine.inventory().await?;
        let (engine, report, writes) = look(&mut stage, engine, &asked).await;
        settled(&report);
        assert_eq!(writes, 0, "a quiet restart before {ports:?}");
        asked = service("shop", ports);
        settled(&look(&mut stage, engine, &asked).await.1);
    }
    assert_eq!(ours.record().marks.len(), 4);
    stage.aws.check()
}

/// The process ends, or the answer is lost, around each write of a mark; and a former leader's late write comes after its successor's.
#[tokio::test]
async fn a_mark_that_was_cut_off_is_ours() -> Result<()> {
    for fault in [Fault::Reset, Fault::ReplyLost] {
        let mut stage = Stage::with_nodes(2).await?;
        let ours = Memory::of("ours", Record::default());
        let engine = process(&stage, &ours);
        settled(&look(&mut stage, engine, &service("shop", &[80])).await.1);
        let engine = process(&stage, &ours);
        let injected = stage
            .aws
            .inject(&At::first("ec2", "CreateTags"), fault.clone());
        let (_, report, _) = look(&mut stage, engine, &wider()).await;
        assert_eq!(injected.fired(), 1);
        assert!(stopped(&report).is_err(), "{report:#?}");
        let engine = process(&stage, &ours);
        settled(&look(&mut stage, engine, &wider()).await.1);
        stage.aws.check()?;
    }
    let mut stage = Stage::with_nodes(2).await?;
    let ours = Memory::of("ours", Record::default());
    let former = process(&stage, &ours);
    let (former, ..) = look(&mut stage, former, &service("shop", &[80])).await;
    let leader = process(&stage, &ours);
    let (leader, report, _) = look(&mut stage, leader, &wider()).await;
    settled(&report);
    // It knows nothing of its successor, whose mark it finds.
    let (_, report, _) = look(&mut stage, former, &wider()).await;
    settled(&report);
    let (_, report, _) = look(&mut stage, leader, &wider()).await;
    settled(&report);
    stage.aws.check()
}

/// The original has gone on since the backup: the copy writes nothing at all, not even the mark, and the original never notices.
#[tokio::test]
async fn a_copy_of_an_old_backup_writes_nothing() -> Result<()> {
    let mut stage = Stage::with_nodes(2).await?;
    let ours = Memory::of("ours", Record::default());
    let shop = service("shop", &[80]);
    let first = process(&stage, &ours);
    settled(&look(&mut stage, first, &shop).await.1);
    let backup = ours.record().clone();
    let second = process(&stage, &ours);
    let (second, report, _) = look(&mut stage, second, &wider()).await;
    settled(&report);

    let before = stage.state().await?;
    let mark = stage.aws.calls().mark();
    let theirs = Memory::of("copy", backup);
    let copy = process(&stage, &theirs);
    let error = copy.inventory().await.expect_err("it is noticed");
    assert_eq!(error.of_provider, Some(ProviderFault::AnotherCluster));
    let (copy, report, _) = look(&mut stage, copy, &shop).await;
    let text = stopped(&report)?;
    ensure!(text.contains("take over from ours/1"), "{text}");
    // Nor does it give anything back.
    let key = GroupKey::Service(shop.service.clone());
    let original = std::mem::replace(&mut stage.engine, copy);
    let (report, _) = stage.run(&key, Ask::Release, false).await;
    stopped(&report)?;
    ensure!(!report.gone);
    let copy = std::mem::replace(&mut stage.engine, original);
    let asked = stage.aws.calls().count_since(mark);
    assert_eq!(asked.writes, 0, "{asked}");
    assert_eq!(stage.state().await?, before);

    // While it stands still it asks for the mark alone.
    let mark = stage.aws.calls().mark();
    copy.inventory().await.expect_err("it still holds");
    let asked = stage.aws.calls().count_since(mark);
    assert_eq!((asked.reads, asked.writes), (1, 0), "{asked}");

    let (second, report, _) = look(&mut stage, second, &shop).await;
    settled(&report);

    // A person decides for the copy; now it is the original that has to stop.
    theirs.record().taken_over = Some("ours/1".to_owned());
    copy.inventory().await?;
    let (_, report, _) = look(&mut stage, copy, &wider()).await;
    settled(&report);
    assert_eq!(theirs.record().taken_over, None, "it is used up");
    stopped(&look(&mut stage, second, &shop).await.1)?;
    stage.aws.check()
}

/// Nothing was written since the backup, so that the copy cannot know. The original notices it at once, and then both stop.
#[tokio::test]
async fn a_copy_of_a_backup_of_just_now_stops_both() -> Result<()> {
    let mut stage = Stage::with_nodes(2).await?;
    let ours = Memory::of("ours", Record::default());
    let shop = service("shop", &[80]);
    let original = process(&stage, &ours);
    let (original, report, _) = look(&mut stage, original, &shop).await;
    settled(&report);
    let theirs = Memory::of("copy", ours.record().clone());
    let copy = process(&stage, &theirs);
    let (copy, report, writes) = look(&mut stage, copy, &shop).await;
    settled(&report);
    assert_eq!(writes, 0, "it has nothing to do");
    let (copy, report, _) = look(&mut stage, copy, &wider()).await;
    settled(&report);

    let (original, report, writes) = look(&mut stage, original, &shop).await;
    stopped(&report)?;
    assert_eq!(writes, 1, "the mark is nobody's now");
    let (_, report, writes) = look(&mut stage, copy, &shop).await;
    ensure!(
        stopped(&report)?.contains("contested-by-ours/0"),
        "{report:#?}"
    );
    assert_eq!(writes, 0);

    // A restart decides nothing, a person does.
    for memory in [&ours, &theirs] {
        let again = process(&stage, memory);
        let (_, report, writes) = look(&mut stage, again, &shop).await;
        stopped(&report)?;
        assert_eq!(writes, 0);
    }
    ours.record().taken_over = Some("contested-by-ours/0".to_owned());
    original.inventory().await?;
    let (_, report, _) = look(&mut stage, original, &shop).await;
    settled(&report);
    stage.aws.check()
}

/// A cluster that cannot say what it knows is not taken for another: it waits.
#[tokio::test]
async fn a_cluster_that_does_not_answer_is_no_other() -> Result<()> {
    let mut stage = Stage::with_nodes(2).await?;
    let ours = Memory::of("ours", Record::default());
    let shop = service("shop", &[80]);
    let engine = process(&stage, &ours);
    settled(&look(&mut stage, engine, &shop).await.1);
    *ours.is_down.lock().expect("nobody panics with it") = true;
    let engine = process(&stage, &ours);
    let (engine, report, writes) = look(&mut stage, engine, &wider()).await;
    let failure = report.failures.first().context("it failed")?;
    assert_eq!((failure.class, writes), (ErrorClass::Transient, 0));
    *ours.is_down.lock().expect("nobody panics with it") = false;
    settled(&look(&mut stage, engine, &wider()).await.1);
    stage.aws.check()
}

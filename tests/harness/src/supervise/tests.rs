use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use tokio::signal::unix::{SignalKind, signal};

use super::*;

/// Set in the process that is to be killed: where it leaves word of what it started.
const VICTIM: &str = "EVENKEEL_TEST_VICTIM";

fn await_that(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "waited 10 s for: {what}");
        sleep(INTERVAL);
    }
}

fn alive(pid: u32) -> bool {
    // An ended process that nobody has waited for is a zombie: it runs no more.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A shell that starts a grandchild, tells both numbers in `file`, and ignores TERM if asked to.
fn family(file: &Path, stubborn: bool) -> Builder {
    let trap = if stubborn { "trap '' TERM; " } else { "" };
    Supervised::builder("sh").args([
        "-c",
        &format!(
            "{trap}sleep 1000 & echo $$ $! > '{0}.new'; mv '{0}.new' '{0}'; wait; wait",
            file.display()
        ),
    ])
}

fn read_family(file: &Path) -> Vec<u32> {
    await_that("the family's numbers", || file.exists());
    std::fs::read_to_string(file)
        .unwrap()
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

#[test]
fn stop_ends_the_whole_group_and_cleans_up() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("family");
    let doomed = scratch.path().join("it's doomed");
    std::fs::create_dir(&doomed).unwrap();
    let order = scratch.path().join("order");
    let process = family(&file, false)
        .cleanup_command(["sh", "-c", &format!("echo second >> {}", order.display())])
        .cleanup_command(["sh", "-c", &format!("echo first >> {}", order.display())])
        .cleanup_remove_dir(&doomed)
        .spawn()
        .unwrap();
    let pids = read_family(&file);
    assert_eq!(pids[0], process.pid());
    assert!(pids.iter().all(|pid| alive(*pid)));

    let status = process.stop().unwrap();
    assert_eq!(status.signal(), Some(15));
    assert!(!alive(pids[0]));
    await_that("the grandchild's end", || !alive(pids[1]));
    assert!(!doomed.exists());
    assert_eq!(std::fs::read_to_string(&order).unwrap(), "first\nsecond\n");
}

#[test]
fn who_ignores_term_is_killed_after_the_grace_time() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("family");
    let process = family(&file, true)
        .grace(Duration::from_millis(200))
        .spawn()
        .unwrap();
    read_family(&file);
    assert_eq!(process.stop().unwrap().signal(), Some(9));
}

#[test]
fn a_paused_process_can_be_stopped() {
    let process = Supervised::builder("sleep").arg("1000").spawn().unwrap();
    process.pause().unwrap();
    let stat = format!("/proc/{}/stat", process.pid());
    await_that("the pause", || {
        std::fs::read_to_string(&stat).unwrap().contains(") T ")
    });
    assert_eq!(process.stop().unwrap().signal(), Some(15));
}

#[test]
fn an_early_end_is_reported_with_status_and_log() {
    let scratch = tempfile::tempdir().unwrap();
    let mut process = Supervised::builder("sh")
        .args(["-c", "echo one; echo two >&2; exit 3"])
        .log_file(scratch.path().join("log"))
        .spawn()
        .unwrap();
    assert_eq!(
        process.wait(Duration::from_secs(10)).unwrap().code(),
        Some(3)
    );
    let error = process.check().unwrap_err().to_string();
    assert!(error.starts_with("sh ended (exit status 3)"), "{error}");
    assert!(error.ends_with("one\ntwo"), "{error}");
}

#[test]
fn a_missing_program_is_an_error_that_names_it() {
    let error = Supervised::builder("no-such-program").spawn().unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no program no-such-program on PATH: install it"
    );
}

#[test]
fn a_guard_runs_its_commands_last_first() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("said");
    let say = |word: &str| {
        let script = format!("echo {word} >> {}", file.display());
        vec!["sh".to_owned(), "-c".to_owned(), script]
    };
    let guard = CleanupGuard::new(vec![say("three"), say("two")]).unwrap();
    guard.add(say("one")).unwrap();
    assert!(!file.exists());
    guard.run();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one\ntwo\nthree\n");
}

/// Not a test by itself: the body of the process that [`a_killed_parent_leaves_nothing_behind`] kills.
#[test]
fn victim() {
    let Some(scratch) = std::env::var_os(VICTIM).map(PathBuf::from) else {
        return;
    };
    let janitor = Arc::new(Janitor::start().unwrap());
    janitor.grace(Duration::from_millis(300)).unwrap();
    let directory = janitor.directory("victim", Some(scratch.clone())).unwrap();
    std::fs::write(directory.join("file"), "data").unwrap();
    let guard_says = scratch.join("guard");
    let guard = CleanupGuard::new(vec![vec!["touch", guard_says.to_str().unwrap()]]).unwrap();
    let own = family(&scratch.join("own"), false)
        .cleanup_command(["touch", scratch.join("own-cleaned").to_str().unwrap()])
        .spawn()
        .unwrap();
    let stubborn = family(&scratch.join("stubborn"), true)
        .janitor(janitor.clone())
        .spawn()
        .unwrap();
    let paused = family(&scratch.join("paused"), false)
        .janitor(janitor.clone())
        .spawn()
        .unwrap();
    read_family(&scratch.join("paused"));
    paused.pause().unwrap();
    std::fs::write(scratch.join("directory"), directory.to_str().unwrap()).unwrap();
    // Started in the background by a shell, a process ignores Ctrl-C; with a handler of its own it never does.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut interrupts = signal(SignalKind::interrupt()).unwrap();
        std::fs::write(scratch.join("ready"), "").unwrap();
        if std::env::var_os("EVENKEEL_TEST_PANIC").is_some() {
            panic!("as asked");
        }
        tokio::select! {
            _ = interrupts.recv() => std::process::exit(130),
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
        }
    });
    drop((own, stubborn, paused, guard));
}

fn victim_ends_by(how: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "supervise::tests::victim", "--nocapture"])
        .env(VICTIM, scratch.path())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if how == "panic" {
        command.env("EVENKEEL_TEST_PANIC", "1");
    }
    let mut victim = command.spawn().unwrap();
    await_that("the victim", || scratch.path().join("ready").exists());
    let pids: Vec<_> = ["own", "stubborn", "paused"]
        .iter()
        .flat_map(|name| read_family(&scratch.path().join(name)))
        .collect();
    let directory = std::fs::read_to_string(scratch.path().join("directory")).unwrap();
    assert_eq!(pids.len(), 6);

    match how {
        "SIGKILL" => victim.kill().unwrap(),
        // As a terminal does: to the whole foreground process group.
        "Ctrl-C" => kill_process_group(Pid::from_child(&victim), Signal::INT).unwrap(),
        _ => {}
    }
    assert!(!victim.wait().unwrap().success());
    for pid in pids {
        await_that("the end of what the victim started", || !alive(pid));
    }
    await_that("the temporary directory's end", || {
        !Path::new(&directory).exists()
    });
    for file in ["own-cleaned", "guard"] {
        await_that(file, || scratch.path().join(file).exists());
    }
}

#[test]
fn a_killed_parent_leaves_nothing_behind() {
    victim_ends_by("SIGKILL");
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    victim_ends_by("Ctrl-C");
}

#[test]
fn a_panic_leaves_nothing_behind() {
    victim_ends_by("panic");
}

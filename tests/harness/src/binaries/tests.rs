use std::fs;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::*;

/// Written by another process: one that this process holds open for writing while another thread forks cannot be run.
fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let status = Command::new("sh")
        .args([
            "-c",
            r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod +x "$2""#,
            "sh",
            text,
        ])
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success());
}

/// A `go` that writes down each build, waits for the file `go-on`, and makes a program that tells its package.
fn fake_go(directory: &Path) -> PathBuf {
    let go = directory.join("bin/go");
    script(
        &go,
        &format!(
            r#"case $1 in
env) echo go1.26.1 ;;
build)
    for last; do :; done
    echo "$last" >> '{0}/builds'
    while [ ! -e '{0}/go-on' ]; do sleep 0.05; done
    echo "go: downloading example.com/module v1.0.0" >&2
    echo "example.com/module/package" >&2
    printf '#!/bin/sh\necho %s\n' "$last" > out && chmod +x out ;;
esac"#,
            directory.display()
        ),
    );
    go
}

fn finder(directory: &Path, go: &Path) -> Finder {
    Finder {
        assets: None,
        search: OsString::new(),
        cache: Cache::in_directory(&directory.join("cache"), Kubernetes::Current),
        envtest_index: None,
        go: go.to_owned(),
    }
}

fn builds(directory: &Path) -> Vec<String> {
    let text = fs::read_to_string(directory.join("builds")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn builds_what_is_asked_for_once_and_in_order() {
    let scratch = tempfile::tempdir().unwrap();
    let finder = finder(scratch.path(), &fake_go(scratch.path()));
    fs::write(scratch.path().join("go-on"), "").unwrap();

    let tools = [Tool::ApiServer, Tool::Etcd, Tool::Etcd];
    let found = finder.ensure(&tools, &Progress::quiet()).unwrap();
    let expected = [
        "go.etcd.io/etcd/server/v3",
        "k8s.io/kubernetes/cmd/kube-apiserver",
    ];
    assert_eq!(builds(scratch.path()), expected);
    let output = Command::new(found.path(Tool::Etcd).unwrap())
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"go.etcd.io/etcd/server/v3\n");
    assert_eq!(
        found.path(Tool::Kubectl).unwrap_err().to_string(),
        "kubectl was not asked for: name it in the call of `ensure`"
    );

    let again = finder.ensure(&tools, &Progress::quiet()).unwrap();
    assert_eq!(again.paths, found.paths);
    assert_eq!(builds(scratch.path()).len(), 2);

    let left: Vec<_> = fs::read_dir(finder.cache.directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("evenkeel-build"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_failed_build_shows_the_end_of_its_output_and_caches_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let go = scratch.path().join("bin/go");
    script(
        &go,
        "[ $1 = env ] && echo go1.27 && exit\necho undefined: x >&2\nexit 1",
    );
    let finder = finder(scratch.path(), &go);
    let error = finder
        .ensure(&[Tool::Etcd], &Progress::quiet())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot build etcd with `go build` (exit status: 1); the end of its output:\nundefined: x"
    );
    assert_eq!(finder.cache.get(Tool::Etcd), None);
}

#[test]
fn missing_or_old_go_is_one_error_that_says_what_to_install() {
    let scratch = tempfile::tempdir().unwrap();
    let old = scratch.path().join("bin/go");
    script(&old, "echo go1.25.9");
    for (go, reason) in [
        (old, r#"env GOVERSION` says "go1.25.9""#),
        (scratch.path().join("no/go"), "does not run"),
    ] {
        let finder = finder(scratch.path(), &go);
        let error = finder
            .ensure(&[Tool::Etcd, Tool::ApiServer], &Progress::quiet())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(
                "etcd, kube-apiserver must be built with Go 1.26 or later: install it"
            ),
            "{error}"
        );
        assert!(error.ends_with(reason), "{error}");
    }
}

#[test]
fn installed_programs_come_first_if_their_version_is_right() {
    let scratch = tempfile::tempdir().unwrap();
    let mut finder = finder(scratch.path(), Path::new("no/go"));
    let assets = scratch.path().join("assets");
    let path = scratch.path().join("path");
    finder.assets = Some(assets.clone());
    finder.search = path.clone().into_os_string();
    script(&assets.join("kube-apiserver"), "echo Kubernetes v1.30.0");
    script(&path.join("kube-apiserver"), "echo Kubernetes v1.37.1");
    script(&assets.join("etcd"), "echo etcd Version: 3.7.1");
    script(&path.join("etcd"), "echo etcd Version: 3.7.0");
    let found = finder
        .ensure(&[Tool::Etcd, Tool::ApiServer], &Progress::quiet())
        .unwrap();
    assert_eq!(found.path(Tool::Etcd).unwrap(), assets.join("etcd"));
    assert_eq!(
        found.path(Tool::ApiServer).unwrap(),
        path.join("kube-apiserver")
    );
}

#[test]
fn the_archive_is_used_when_its_checksum_is_right() {
    let scratch = tempfile::tempdir().unwrap();
    let content = scratch.path().join("content/controller-tools/envtest");
    script(&content.join("etcd"), "echo etcd Version: 3.6.4");
    script(&content.join("kube-apiserver"), "echo Kubernetes v1.37.0");
    let archive = scratch.path().join("archive.tar.gz");
    let packed = Command::new("tar")
        .arg("-czf")
        .arg(&archive)
        .arg("-C")
        .arg(scratch.path().join("content"))
        .arg("controller-tools")
        .status()
        .unwrap();
    assert!(packed.success());

    let index = scratch.path().join("index.yaml");
    let hash = envtest::sha512(&fs::read(&archive).unwrap());
    let go = fake_go(scratch.path());
    fs::write(scratch.path().join("go-on"), "").unwrap();
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    for (hash, built) in [("0123".to_owned(), 2), (hash, 1)] {
        let _ = fs::remove_file(scratch.path().join("builds"));
        let _ = fs::remove_dir_all(scratch.path().join("cache"));
        fs::write(
            &index,
            format!(
                "releases:\n  v1.37.0:\n    envtest-v1.37.0-linux-{arch}.tar.gz:\n      hash: {hash}\n      selfLink: file://{}\n",
                archive.display()
            ),
        )
        .unwrap();
        let mut finder = finder(scratch.path(), &go);
        finder.envtest_index = Some(format!("file://{}", index.display()));
        // kube-proxy is in no archive.
        let tools = match built {
            1 => vec![Tool::ApiServer, Tool::KubeProxy],
            _ => vec![Tool::Etcd, Tool::ApiServer],
        };
        finder.ensure(&tools, &Progress::quiet()).unwrap();
        assert_eq!(builds(scratch.path()).len(), built, "{hash}");
    }
}

/// Not a test by itself: one of the two processes of [`of_two_processes_one_builds`].
#[test]
fn racer() {
    if std::env::var_os("EVENKEEL_TEST_RACER").is_some() {
        ensure(&[Tool::Etcd, Tool::ApiServer], &Progress::lines()).unwrap();
    }
}

#[test]
fn of_two_processes_one_builds() {
    let scratch = tempfile::tempdir().unwrap();
    let go = fake_go(scratch.path());
    let path = format!("{}:/usr/bin:/bin", go.parent().unwrap().display());
    let start = |name: &str| {
        let said = fs::File::create(scratch.path().join(name)).unwrap();
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "binaries::tests::racer"])
            .env("EVENKEEL_TEST_RACER", "1")
            .env("EVENKEEL_CACHE", scratch.path().join("cache"))
            .env("PATH", &path)
            .env_remove("KUBEBUILDER_ASSETS")
            .env_remove("EVENKEEL_ENVTEST")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(said)
            .spawn()
            .unwrap()
    };
    let said = |name: &str| fs::read_to_string(scratch.path().join(name)).unwrap();
    let await_that = |what: &str, condition: &dyn Fn() -> bool| {
        let end = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < end, "waited 20 s for {what}");
            sleep(Duration::from_millis(10));
        }
    };
    let succeeded = |output: Output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
    };

    let first = start("first");
    await_that("the first process's build", &|| {
        builds(scratch.path()).len() == 1
    });
    let second = start("second");
    await_that("the second process to wait", &|| {
        said("second").contains("waiting for another process")
    });
    fs::write(scratch.path().join("go-on"), "").unwrap();
    succeeded(first.wait_with_output().unwrap());
    succeeded(second.wait_with_output().unwrap());

    assert_eq!(builds(scratch.path()).len(), 2, "one build of each program");
    assert!(
        said("first").contains("building kube-apiserver: "),
        "{}",
        said("first")
    );
    assert!(!said("second").contains("building"), "{}", said("second"));
}

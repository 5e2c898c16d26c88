//! `lottery --version`, and the build script that finds out the commit.

use std::io::Read;
use std::process::Command;

use lottery::version::{COMMIT, COMMIT_DATE, VERSION};

use super::*;

#[actix_web::test]
async fn the_version_names_the_commit_and_its_date_also_in_the_log() {
    let program = program_with_database().await;
    let expected = match COMMIT {
        "unknown" => format!("lottery {VERSION} (unknown commit)\n"),
        commit => format!("lottery {VERSION} ({commit} {COMMIT_DATE})\n"),
    };
    assert_eq!(printed(&program.run(&["--version"]).await), (Some(0), expected, String::new()));
    let log = program.start().await.stop().await;
    let start = log.iter().find(|line| line.contains("the service starts")).expect("a line of the start");
    assert!(start.contains(VERSION) && start.contains(COMMIT), "{start}");
}

/// A package with the build script of this one, whose program prints what the script found out.
struct Package(PathBuf);

impl Package {
    fn make(directory: PathBuf, build_script: &str) -> Package {
        ["src", "build"].into_iter().for_each(|folder| fs::create_dir_all(directory.join(folder)).unwrap());
        let file = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
        file(
            "Cargo.toml",
            "[package]\nname = \"printer\"\nversion = \"1.2.3\"\nedition = \"2024\"\n[workspace]\n",
        );
        file("src/main.rs", "fn main() { println!(\"{}\", env!(\"LOTTERY_VERSION\")) }\n");
        file(".gitignore", "/target\n/Cargo.lock\n");
        file(".gitattributes", &source(".gitattributes"));
        file("build.rs", build_script);
        // The pages need other crates, and have nothing to do with the commit.
        file("build/web.rs", "pub fn embed() -> Result<(), String> { Ok(()) }\n");
        Package(directory)
    }

    fn run(&self, mut command: Command) -> (String, String) {
        for name in ["BUILD_COMMIT", "CARGO_TARGET_DIR", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(name);
        }
        let output = command.current_dir(&self.0).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, error) = (text(output.stdout), text(output.stderr));
        assert!(output.status.success(), "{command:?}: {error}");
        (out.trim().to_owned(), error)
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=Ann", "-c", "user.email=ann@example.com"]).args(arguments);
        command.env("GIT_COMMITTER_DATE", "2026-02-03T04:05:06Z");
        self.run(command).0
    }

    fn commit(&self, message: &str) -> String {
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])[..10].to_owned()
    }

    /// What the program prints, and whether it had to be compiled for that.
    fn version(&self) -> (String, bool) {
        let mut command = Command::new(env!("CARGO"));
        command.args(["run", "--offline"]);
        let (version, log) = self.run(command);
        (version, log.contains("Compiling"))
    }
}

fn source(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_build_script_finds_the_commit_and_runs_again_only_after_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let package = Package::make(directory.path().join("cloned"), &source("build.rs"));
    package.git(&["init", "-q"]);
    package.git(&["add", "."]);
    let first = package.commit("first");
    assert_eq!(package.version(), (format!("1.2.3 ({first} 2026-02-03)"), true));
    assert_eq!(package.version(), (format!("1.2.3 ({first} 2026-02-03)"), false));
    let second = package.commit("second");
    assert_eq!(package.version(), (format!("1.2.3 ({second} 2026-02-03)"), true));

    // The repository around source code that was unpacked into it is not the one of that source code.
    let copied = Package::make(package.0.join("copied"), &source("build.rs"));
    assert_eq!(copied.version(), ("1.2.3 (unknown commit)".to_owned(), true));
    assert_eq!(copied.version(), ("1.2.3 (unknown commit)".to_owned(), false));

    package.git(&["archive", "--format=zip", "--output=archive.zip", "HEAD"]);
    let mut archive = zip::ZipArchive::new(fs::File::open(package.0.join("archive.zip")).unwrap()).unwrap();
    let mut archived = String::new();
    archive.by_name("build.rs").unwrap().read_to_string(&mut archived).unwrap();
    let unpacked = Package::make(directory.path().join("unpacked"), &archived);
    assert_eq!(unpacked.version().0, format!("1.2.3 ({second} 2026-02-03)"));
}

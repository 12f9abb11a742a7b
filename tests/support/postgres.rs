//! One throw-away `PostgreSQL` for a whole test binary, and a database in it for each test that wants one.
//!
//! It listens on a socket in its own folder, so it needs no port. A shell next to it stops it and removes the folder
//! when this process ends, also when it is killed.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Starting takes a second or two; a busy machine may need many more.
const STARTED_WITHIN: Duration = Duration::from_secs(120);

/// What reaches nobody but this machine, and is quick to throw away.
const SETTINGS: &str = "
listen_addresses = ''
max_connections = 400
shared_buffers = 64MB
full_page_writes = off
synchronous_commit = on
autovacuum = off
log_min_messages = warning
";

/// Runs the server until standard input ends, then removes everything.
const KEEPER: &str = r#"
trap '' INT TERM HUP
"$@" </dev/null >"$FOLDER/log" 2>&1 &
server=$!
cat >/dev/null
kill -QUIT $server
wait $server
rm -rf "$FOLDER"
"#;

/// A running server.
pub struct Cluster {
    folder: PathBuf,
    /// Dropping it, as the end of this process does, ends the server.
    keeper: Option<(Child, ChildStdin)>,
    durable: bool,
}

impl Cluster {
    /// The server that the tests of this binary share. It does not wait for the disk.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("fsync = off", false, |_| {}))
    }

    /// A server of one's own whose commits survive its death, to be stopped and started.
    pub fn durable() -> Self {
        Self::start("fsync = on", true, |_| {})
    }

    /// A server with further lines in its configuration.
    pub fn with(settings: &str) -> Self {
        Self::start(&format!("fsync = off\n{settings}"), false, |_| {})
    }

    /// A server that is reached at these addresses of this machine too, over TLS alone, with a certificate in PEM.
    pub fn with_tls(addresses: &[&str], certificate: &str, key: &str) -> Self {
        let settings = format!(
            "fsync = off\nlisten_addresses = '{}'\nssl = on\nssl_cert_file = '../server.pem'\n\
             ssl_key_file = '../server.key'",
            addresses.join(",")
        );
        Self::start(&settings, false, |cluster| {
            fs::write(cluster.folder.join("server.pem"), certificate).unwrap();
            let private = cluster.folder.join("server.key");
            fs::write(&private, key).unwrap();
            fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
            if is_root() {
                cluster.run(Command::new("chown").arg("postgres:").arg(&private));
            }
            let access = cluster.folder.join("data/pg_hba.conf");
            let others = fs::read_to_string(&access).unwrap();
            let tls_alone = "hostnossl all all all reject\nhostssl all all 127.0.0.0/8 trust\n";
            fs::write(&access, format!("{tls_alone}{others}")).unwrap();
        })
    }

    /// `prepare` is called between the making of the data and the start.
    fn start(settings: &str, durable: bool, prepare: impl FnOnce(&Self)) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        // Short: the name of a socket has room for 107 bytes.
        let folder = std::env::temp_dir().join(format!(
            "pcl-pg-{}-{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        ));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let mut cluster = Self {
            folder,
            keeper: None,
            durable,
        };
        if is_root() {
            cluster.run(Command::new("chown").arg("postgres:").arg(&cluster.folder));
        }
        let data = cluster.folder.join("data");
        cluster.run(
            cluster
                .command("initdb")
                .args(["--no-sync", "--auth=trust", "--encoding=UTF8"])
                .args(["--locale=C", "--username=portcullis", "-D"])
                .arg(&data),
        );
        let mut file = fs::File::options()
            .append(true)
            .open(data.join("postgresql.conf"))
            .unwrap();
        writeln!(file, "{SETTINGS}{settings}").unwrap();
        prepare(&cluster);
        cluster.start_again();
        cluster
    }

    /// Starts the server after [`Cluster::stop`].
    pub fn start_again(&mut self) {
        assert!(self.keeper.is_none(), "it runs");
        let server = self.command("postgres");
        let mut keeper = Command::new("sh");
        keeper
            .args(["-c", KEEPER, "keeper"])
            .arg(server.get_program())
            .args(server.get_args())
            .arg("-D")
            .arg(self.folder.join("data"))
            .arg("-k")
            .arg(&self.folder)
            .env("FOLDER", &self.folder)
            // What ends this process by the keyboard is not for the server.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = keeper.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        self.keeper = Some((child, stdin));
        self.wait_until_started();
    }

    fn wait_until_started(&self) {
        let mut waited = Duration::ZERO;
        let step = Duration::from_millis(50);
        loop {
            let answer = self
                .command("pg_isready")
                .arg("-q")
                .arg("-h")
                .arg(&self.folder)
                .status()
                .unwrap();
            if answer.success() {
                return;
            }
            assert!(
                waited < STARTED_WITHIN,
                "PostgreSQL does not start: {}",
                fs::read_to_string(self.folder.join("log")).unwrap_or_default()
            );
            std::thread::sleep(step);
            waited += step;
        }
    }

    /// Ends the server at once, as a crash would, or in an orderly way. Its data stay.
    pub fn stop(&mut self, orderly: bool) {
        assert!(self.durable, "only a durable server may be stopped");
        let (mut keeper, stdin) = self.keeper.take().unwrap();
        let pid = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap().to_owned();
        // The keeper goes first, or it would remove the data.
        keeper.kill().unwrap();
        keeper.wait().unwrap();
        drop(stdin);
        let signal = if orderly { "-INT" } else { "-QUIT" };
        self.run(Command::new("kill").args([signal, &pid]));
        let data = self.folder.join("data");
        let gone = self.folder.join("data/postmaster.pid");
        let mut waited = Duration::ZERO;
        while Path::new(&format!("/proc/{pid}")).exists() && gone.exists() {
            assert!(waited < STARTED_WITHIN, "{} is not left", data.display());
            std::thread::sleep(Duration::from_millis(20));
            waited += Duration::from_millis(20);
        }
    }

    /// A new, empty database.
    pub fn database(&'static self) -> Database {
        self.database_named(&format!("t{}", next_number()))
    }

    /// A new, empty database, without taking care of its end.
    pub fn database_url(&self) -> String {
        let name = format!("d{}", next_number());
        self.run(&mut self.client("createdb", &name));
        self.url(&name)
    }

    fn database_named(&'static self, name: &str) -> Database {
        self.run(&mut self.client("createdb", name));
        Database {
            cluster: self,
            name: name.to_owned(),
        }
    }

    fn url(&self, name: &str) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://portcullis@{folder}/{name}")
    }

    /// Where the server's socket is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn client(&self, program: &str, database: &str) -> Command {
        let mut command = self.command(program);
        command
            .arg("-h")
            .arg(&self.folder)
            .args(["-U", "portcullis", database]);
        command
    }

    /// A program of PostgreSQL. Its server refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let program = programs().join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.folder);
        command
    }

    fn run(&self, command: &mut Command) {
        let done = command.stdin(Stdio::null()).output();
        let done = done.unwrap_or_else(|error| panic!("{command:?}: {error}; run `make setup` first"));
        assert!(
            done.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some((mut keeper, stdin)) = self.keeper.take() {
            drop(stdin);
            let _ = keeper.wait();
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A database that goes away with its test.
pub struct Database {
    cluster: &'static Cluster,
    name: String,
}

impl Database {
    pub fn url(&self) -> String {
        self.cluster.url(&self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Nobody waits for it: the whole server goes away soon.
        let mut drop = self.cluster.client("dropdb", "--force");
        let _ = drop
            .args(["--if-exists", &self.name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
    }
}

fn next_number() -> u32 {
    static MADE: AtomicU32 = AtomicU32::new(0);
    MADE.fetch_add(1, Ordering::Relaxed)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Where Debian puts the programs of the newest PostgreSQL that is installed.
fn programs() -> PathBuf {
    let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.path().join("bin").canonicalize().ok())
        .filter(|path| path.join("initdb").exists())
        .collect();
    versions.sort();
    versions
        .pop()
        .expect("PostgreSQL is not installed; run `make setup` first")
}

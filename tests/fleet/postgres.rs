//! PostgreSQL clusters that only a test knows: real servers on loopback ports, each in a folder of its own.
//!
//! A cluster is gone when it is dropped, and also when the process of the tests dies in any way: a keeper, a small shell
//! at the end of a pipe, ends it then.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use apono_connector::database::{DatabaseSettings, DatabaseUrl};
use apono_connector::secrets::MountedFile;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::geteuid;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

/// `nobody`: PostgreSQL does not run as root.
const NOBODY: u32 = 65_534;
const SUPERUSER: &str = "keeper";
/// A port that was free may be taken by the time it is used.
const STARTS: usize = 5;
/// Waits for the end of its input, which comes with the end of the tests.
const KEEPER: &str = r#"cat >/dev/null
file=$1/data/postmaster.pid
if pid=$(head -n 1 "$file" 2>/dev/null); then
    kill -QUIT "$pid"
    # It may have been frozen.
    kill -CONT "$pid" $(cat "/proc/$pid/task/$pid/children")
    while [ -e "$file" ] && kill -0 "$pid"; do sleep 0.05; done
fi
rm -rf "$1""#;

/// A server with its data.
pub struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
    authority: Option<String>,
    databases: AtomicUsize,
    keeper: Child,
}

/// One database of a cluster, with a role of its own that owns it.
pub struct Base {
    /// Of the database and of the role.
    pub name: String,
    /// Without the password.
    pub url: String,
    /// The password, as the connector has it.
    pub password_file: PathBuf,
    /// PEM of the cluster's authority, where it has TLS.
    pub authority: Option<PathBuf>,
    folder: tempfile::TempDir,
}

/// The cluster for whoever needs no more than a database of its own.
pub fn shared() -> &'static Cluster {
    static SHARED: LazyLock<Cluster> = LazyLock::new(Cluster::start);
    &SHARED
}

impl Cluster {
    /// Makes a cluster and starts it.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// The same; it takes connections with TLS alone, with a certificate for `name` of an authority of its own.
    pub fn start_with_tls(name: &str) -> Self {
        Self::start_with(Some(name))
    }

    fn start_with(tls: Option<&str>) -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("apono-fleet-").tempdir().unwrap().keep();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for the tests; the keeper comes after them.
            .process_group(0)
            .spawn()
            .unwrap();
        let databases = AtomicUsize::new(0);
        let mut cluster = Self { folder, programs, port: 0, authority: None, databases, keeper };
        if geteuid().is_root() {
            chown(&cluster.folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        cluster.write("password", "placeholder-of-the-superuser");
        let (data, password) = (cluster.data(), cluster.folder.join("password"));
        let arguments: [&OsStr; 9] = [
            "-D".as_ref(),
            data.as_ref(),
            "-U".as_ref(),
            SUPERUSER.as_ref(),
            "--auth=scram-sha-256".as_ref(),
            "--pwfile".as_ref(),
            password.as_ref(),
            "--no-sync".as_ref(),
            "--encoding=UTF8".as_ref(),
        ];
        cluster.command("initdb").args(arguments).args(["--locale=C", "--no-instructions"]).succeed();
        cluster.configure(tls);
        let mut told = String::new();
        for _ in 0..STARTS {
            cluster.port = free_port();
            match cluster.try_start() {
                Ok(()) => return cluster,
                Err(error) => told = error,
            }
        }
        panic!("PostgreSQL does not start: {told}\n{}", cluster.log());
    }

    fn configure(&mut self, tls: Option<&str>) {
        let mut lines = format!(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nshared_buffers = '16MB'\n\
             max_connections = 400\nmax_wal_senders = 0\nwal_level = minimal\nlog_min_messages = info\n",
            self.folder.display()
        );
        if let Some(name) = tls {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            self.authority = Some(params.self_signed(&key).unwrap().pem());
            let issuer = Issuer::new(params, key);
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            self.write("server.crt", &certificate.pem());
            self.write("server.key", &key.serialize_pem());
            let at = self.folder.display();
            writeln!(lines, "ssl = on\nssl_cert_file = '{at}/server.crt'\nssl_key_file = '{at}/server.key'")
                .unwrap();
            self.write(
                "data/pg_hba.conf",
                "local all all scram-sha-256\nhostssl all all all scram-sha-256\n",
            );
        }
        let path = self.data().join("postgresql.conf");
        let former = fs::read_to_string(&path).unwrap();
        fs::write(path, former + &lines).unwrap();
    }

    /// Starts it again after [`Self::stop`] or [`Self::kill`], on its port.
    pub fn start_again(&self) {
        self.try_start().unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
    }

    fn try_start(&self) -> Result<(), String> {
        let (data, log) = (self.data(), self.folder.join("log"));
        let mut command = self.command("pg_ctl");
        command.arg("start").arg("-D").arg(data).arg("-l").arg(log).args(["-w", "-s", "-o"]);
        command.arg(format!("-p {}", self.port)).run()
    }

    /// Stops it as a crash would, and starts it on another port.
    pub fn move_to(&mut self, port: u16) {
        self.kill();
        self.port = port;
        self.start_again();
    }

    /// Stops it in order: whoever is connected is told.
    pub fn stop(&self) {
        self.stop_by("fast");
    }

    /// Stops it as a crash would, but for the operating system: nothing is written any more.
    pub fn kill(&self) {
        self.stop_by("immediate");
    }

    fn stop_by(&self, mode: &str) {
        let mut command = self.command("pg_ctl");
        command.arg("stop").arg("-D").arg(self.data()).args(["-w", "-s", "-m", mode]).succeed();
    }

    /// Stops it and starts it again, on its port.
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Every process of it stands still until [`Self::thaw`]: connections stay, new ones are made, nothing is answered.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Goes on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let main = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let main: i32 = main.lines().next().unwrap().trim().parse().unwrap();
        // Its children come second: those that it would start meanwhile are not missed.
        kill(Pid::from_raw(main), signal).unwrap();
        let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap();
        for child in children.split_ascii_whitespace() {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(child.parse().unwrap()), signal);
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its Unix socket.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The URL of one of its databases for the role of the same name, over loopback.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{database}@127.0.0.1:{}/{database}", self.port)
    }

    /// A new database, and a role with a password that owns it.
    pub async fn new_database(&self) -> Base {
        let name = format!("fleet_{}", self.databases.fetch_add(1, Ordering::Relaxed) + 1);
        let folder = tempfile::tempdir().unwrap();
        let password_file = folder.path().join("password");
        let authority = self.authority.as_ref().map(|pem| {
            let path = folder.path().join("ca.pem");
            fs::write(&path, pem).unwrap();
            path
        });
        let base = Base { url: self.url(&name), name, password_file, authority, folder };
        let password = format!("placeholder-{}-1", base.name);
        base.mount_password(&password);
        let name = &base.name;
        let admin = self.admin("postgres").await;
        for statement in [
            format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"),
            format!("CREATE DATABASE {name} OWNER {name}"),
        ] {
            admin.batch_execute(&statement).await.unwrap();
        }
        base
    }

    /// The superuser, in one of its databases, over the Unix socket.
    pub async fn admin(&self, database: &str) -> Admin {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.folder).port(self.port).user(SUPERUSER).dbname(database);
        config.password(fs::read_to_string(self.folder.join("password")).unwrap());
        let (client, connection) = config.connect(NoTls).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its end is seen where it is used.
            let _ = connection.await;
        });
        Admin { client, _driver: driver }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// For the server's eyes alone.
    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if geteuid().is_root() {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.folder).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

impl Base {
    /// How the connector reaches it.
    pub fn settings(&self) -> DatabaseSettings {
        self.settings_at(&self.url)
    }

    /// The same by another URL.
    pub fn settings_at(&self, url: &str) -> DatabaseSettings {
        DatabaseSettings {
            url: DatabaseUrl::parse(url).unwrap(),
            password_file: Some(MountedFile::new(&self.password_file)),
            ca_bundle: self.authority.as_ref().map(MountedFile::new),
            connect_timeout: std::time::Duration::from_secs(30),
        }
    }

    /// Replaces the mounted file in one step, as mounts do.
    pub fn mount_password(&self, password: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, password).unwrap();
        fs::rename(new, &self.password_file).unwrap();
    }
}

/// A superuser's connection.
pub struct Admin {
    client: Client,
    _driver: JoinSet<()>,
}

impl std::ops::Deref for Admin {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

trait Run {
    fn run(&mut self) -> Result<(), String>;

    fn succeed(&mut self) {
        self.run().unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Run for Command {
    fn run(&mut self) -> Result<(), String> {
        let output = self.output().map_err(|error| format!("{self:?}: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Err(format!("{self:?}: {}\n{out}{err}", output.status))
    }
}

/// A loopback port on which nobody listens.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// The folder with `initdb`, `pg_ctl` and `postgres`; PostgreSQL is installed where there is none and we may.
fn programs() -> PathBuf {
    static FOUND: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = &*found {
        return folder.clone();
    }
    let folder = look().unwrap_or_else(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fleet/setup.sh");
        let done = Command::new(script).run();
        let why = done.err().unwrap_or_default();
        look().unwrap_or_else(|| panic!("there is no PostgreSQL; run tests/fleet/setup.sh as root\n{why}"))
    });
    *found = Some(folder.clone());
    folder
}

fn look() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a test may look where programs are")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join("initdb"));
    // What is there by a link has the others beside what it leads to.
    let in_path = in_path.filter_map(|program| fs::canonicalize(program).ok()?.parent().map(Path::to_owned));
    let mut of_debian = versions().unwrap_or_default();
    of_debian.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let of_debian = of_debian.into_iter().map(|(_, folder)| folder);
    in_path
        .chain(of_debian)
        .find(|folder| ["initdb", "pg_ctl", "postgres"].iter().all(|program| folder.join(program).is_file()))
}

fn versions() -> io::Result<Vec<(u32, PathBuf)>> {
    let entries = fs::read_dir("/usr/lib/postgresql")?.filter_map(Result::ok);
    Ok(entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect())
}

//! TLS to the database: which certificates are accepted, and that every connection is encrypted.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use lottery::db::{DbError, Target, connect, describe, login, private_server_options};
use private_postgres::{PostgresOptions, PostgresServer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::world::*;

/// The name in the server's certificate.
const NAME: &str = "db.test";

/// A certificate authority, and its own certificate.
fn authority() -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

/// A server that speaks TLS over TCP, at a loopback address that no other test uses.
struct Encrypted {
    directory: TempDir,
    server: PostgresServer,
    address: String,
}

impl Encrypted {
    async fn start() -> Encrypted {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let pid = std::process::id();
        let address = format!("127.{}.{}.7", pid / 250 % 250 + 1, pid % 250 + 1);
        // Without a password, over TCP, too.
        let hba = directory.path().join("pg_hba.conf");
        fs::write(&hba, "local all all trust\nhost all all 127.0.0.0/8 trust\n").unwrap();
        fs::set_permissions(&hba, fs::Permissions::from_mode(0o644)).unwrap();
        let hba = ("hba_file".to_owned(), hba.display().to_string());
        let settings = vec![("listen_addresses".into(), address.clone()), hba];
        let options = private_server_options(directory.path().join("data"));
        let server = PostgresServer::start(&PostgresOptions { settings, ..options }).await.unwrap();
        let encrypted = Encrypted { directory, server, address };
        encrypted.certify().await;
        encrypted
    }

    /// Gives the server a certificate of an authority, whose own certificate is `right.pem`; `wrong.pem` is another
    /// authority's.
    async fn certify(&self) {
        let sql = connect(self.server.connection()).await.unwrap();
        let cluster: String = sql.query_one("SHOW data_directory", &[]).await.unwrap().get(0);
        let owner = fs::metadata(&cluster).unwrap();
        let (issuer, right) = authority();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        for (name, pem) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
            let path = Path::new(&cluster).join(name);
            fs::write(&path, pem).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        fs::write(self.path("right.pem"), right).unwrap();
        fs::write(self.path("wrong.pem"), authority().1).unwrap();
        fs::write(self.path("empty.pem"), "").unwrap();
        sql.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
        sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        // The reload is complete when a new session sees it.
        while connect(self.server.connection())
            .await
            .unwrap()
            .query_one("SHOW ssl", &[])
            .await
            .unwrap()
            .get::<_, &str>(0)
            == "off"
        {
            tokio::task::yield_now().await;
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn url(&self, host: &str, mode: &str) -> String {
        format!("host={host} hostaddr={} user=lottery_service dbname=lottery sslmode={mode}", self.address)
    }

    /// Whether the connection is encrypted; an error says why there is none.
    async fn tried(&self, host: &str, mode: &str, authorities: &str) -> Result<bool, String> {
        let config = self.url(host, mode).parse().unwrap();
        let path = self.path(authorities);
        let target = Target::new(config, Some(&path)).map_err(|error| error.to_string())?;
        let sql = connect(&target).await.map_err(|error| describe(&error))?;
        let ssl = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        Ok(sql.query_one(ssl, &[]).await.unwrap().get(0))
    }
}

#[actix_web::test]
async fn the_certificate_of_the_database_is_verified_and_every_connection_is_encrypted() {
    let encrypted = Encrypted::start().await;
    assert_eq!(encrypted.tried(NAME, "disable", "right.pem").await, Ok(false));
    assert_eq!(encrypted.tried(NAME, "prefer", "wrong.pem").await, Ok(true), "it believes anybody");
    assert_eq!(encrypted.tried(NAME, "require", "right.pem").await, Ok(true));
    for (host, authorities, why) in [
        (NAME, "wrong.pem", "invalid peer certificate"),
        ("other.test", "right.pem", "not valid for name"),
        (NAME, "empty.pem", "no certificates"),
        (NAME, "missing.pem", "no certificates"),
    ] {
        let error = encrypted.tried(host, "require", authorities).await.unwrap_err();
        assert!(error.contains(why), "{host}, {authorities}: {error}");
    }
    let config = encrypted.url(NAME, "require").parse().unwrap();
    let refused = login(Target::new(config, Some(&encrypted.path("wrong.pem"))).unwrap()).await.unwrap_err();
    assert!(matches!(refused, DbError::Tls(_)), "{refused}");
    for way_out in ["database.tls_ca", "?sslmode=prefer", "?sslmode=disable"] {
        assert!(refused.to_string().contains(way_out), "{refused}");
    }
    // Without a configured authority the system's are used, which do not include this one.
    let config: tokio_postgres::Config = encrypted.url(NAME, "require").parse().unwrap();
    assert!(connect(&config).await.is_err());
    assert!(connect(Target::new(config, None).unwrap()).await.is_err());

    let mut world = World::on(encrypted.server.connection(), |config| {
        config.database.url = Some(encrypted.url(NAME, "require").into());
        config.database.tls_ca = Some(encrypted.path("right.pem"));
    })
    .await;
    let ann = world.rich_player("ann", 500).await;
    ann.get("/wallet").await.expect(200);
    let all = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL";
    assert!(world.count(all).await >= 2, "the writer, and who reads");
    assert_eq!(world.count(&format!("{all} AND NOT ssl")).await, 0);
    world.stop().await;
    encrypted.server.stop().await.unwrap();
}

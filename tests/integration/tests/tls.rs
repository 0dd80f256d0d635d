//! TLS to a PostgreSQL server that supports it. Its certificate is for `localhost` and is signed by an
//! authority of the tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use support::cluster::{Cluster, authority};
use syncline_postgres::{ConnectionSettings, Pool};

/// Whether a connection to this address is encrypted, or why there is no connection.
async fn encrypted(address: &str) -> Result<bool, String> {
    let settings = ConnectionSettings::parse(address, None).map_err(|error| error.to_string())?;
    let pool = Pool::new(&settings, 1).map_err(|error| error.to_string())?;
    let connection = pool.get().await.map_err(|error| error.to_string())?;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(connection.query_one(sql, &[]).await.unwrap().get(0))
}

#[tokio::test]
async fn every_sslmode_asks_for_what_it_says() {
    let cluster = Cluster::start_with_tls(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a cluster");
    let port = cluster.port();
    let at = |host: &str, query: &str| format!("postgres://syncline@{host}:{port}/postgres?{query}");
    let trusted = |mode: &str| format!("sslmode={mode}&sslrootcert={}", authority().display());

    assert_eq!(encrypted(&at("localhost", "sslmode=disable")).await, Ok(false));
    assert_eq!(encrypted(&at("127.0.0.1", "sslmode=require")).await, Ok(true), "whoever it is");
    assert_eq!(encrypted(&at("127.0.0.1", &trusted("verify-ca"))).await, Ok(true), "whatever its name");
    assert_eq!(encrypted(&at("localhost", &trusted("verify-full"))).await, Ok(true));

    let other_name = encrypted(&at("127.0.0.1", &trusted("verify-full"))).await.unwrap_err();
    assert!(other_name.contains("127.0.0.1") && other_name.contains("not valid for name"), "{other_name}");
    for mode in ["verify-ca", "verify-full"] {
        let stranger = encrypted(&at("localhost", &format!("sslmode={mode}"))).await.unwrap_err();
        assert!(
            stranger.contains("UnknownIssuer") || stranger.contains("no root certificates"),
            "{stranger}"
        );
        let named = format!("sslmode is {mode:?}");
        assert!(stranger.contains(&named) && stranger.contains("sslrootcert"), "{stranger}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let cluster = Cluster::start(Path::new(env!("CARGO_TARGET_TMPDIR")), false).expect("a cluster");
    let address = format!("postgres://syncline@127.0.0.1:{}/postgres?sslmode=require", cluster.port());
    let refused = encrypted(&address).await.unwrap_err();
    assert!(refused.contains("TLS") && refused.contains("sslmode is \"require\""), "{refused}");
}

//! Outbound messages on the wire: retries, duplicates, late delivery, null fields left out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use axum::Router;
use axum::routing::post;
use jiff::SignedDuration;
use salesforce_sim::{OutboundMessage, Simulator, SimulatorConfig, Stored};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const ACK: &str = "<soapenv:Envelope><soapenv:Body><notificationsResponse><Ack>true</Ack></notificationsResponse></soapenv:Body></soapenv:Envelope>";

/// An endpoint that refuses so many requests, and what it received.
async fn endpoint(refuses: usize) -> (String, Arc<Mutex<Vec<String>>>) {
    let received: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = received.clone();
    let handler = post(move |body: String| {
        let seen = seen.clone();
        async move {
            let mut seen = seen.lock().unwrap();
            seen.push(body);
            if seen.len() <= refuses { "no" } else { ACK }
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/om", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/om", handler)).await });
    (url, received)
}

async fn simulator(endpoint: String) -> Simulator {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let fields = ["Id", "LastName", "Title"].map(str::to_owned).to_vec();
    simulator.org.lock().unwrap().add_message(OutboundMessage { object: "Contact".into(), endpoint, fields });
    simulator
}

fn save(simulator: &Simulator, user: usize, name: &str) {
    let mut org = simulator.org.lock().unwrap();
    let user = org.users[user].clone();
    let fields = BTreeMap::from([("LastName".to_owned(), Some(Stored::Text(name.to_owned())))]);
    org.create("Contact", &fields, &user).unwrap();
}

async fn until(received: &Mutex<Vec<String>>, count: usize) {
    let started = Instant::now();
    while received.lock().unwrap().len() < count {
        assert!(started.elapsed() < Duration::from_secs(15), "{count} requests never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again() {
    let (url, received) = endpoint(1).await;
    let simulator = simulator(url).await;
    save(&simulator, 1, "O'Hara & Sons");
    until(&received, 2).await;
    let bodies = received.lock().unwrap().clone();
    assert_eq!(bodies[0], bodies[1]);
    assert!(bodies[0].contains("<sf:LastName>O&apos;Hara &amp; Sons</sf:LastName>"), "{}", bodies[0]);
    assert!(!bodies[0].contains("Title"), "null fields are left out");
}

#[tokio::test]
async fn outbound_messages_can_come_twice_and_late_and_none_is_sent_for_the_integration_user() {
    let (url, received) = endpoint(0).await;
    let simulator = simulator(url).await;
    {
        let mut org = simulator.org.lock().unwrap();
        org.outbox.duplicate_every = 1;
        org.outbox.delay = SignedDuration::from_millis(300);
    }
    let saved = Instant::now();
    save(&simulator, 1, "Hopper");
    until(&received, 2).await;
    assert!(saved.elapsed() >= Duration::from_millis(300));
    save(&simulator, 0, "by the integration user");
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(received.lock().unwrap().len(), 2, "who may not send messages sends none");
}

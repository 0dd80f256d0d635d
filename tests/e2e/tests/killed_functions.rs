//! 200 SIGKILLs hit the functions of a deployed stack at random moments, while people edit both sides.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::world::World;
use std::time::{Duration, Instant};

const KILLS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "deploys a stack and takes minutes; infra/test.sh runs it beside the other tests"]
async fn two_hundred_kills_of_functions_lose_and_double_nothing() {
    let world = World::deploy().await;
    world.send_messages().await;
    let mut traffic = world.traffic(7).await;
    let mut functions = Vec::new();
    for name in ["IngestFunction", "PollFunction", "ApplierFunction"] {
        functions.push(world.function(name).await);
    }
    world.poll_now().await;
    let (started, mut killed, mut polled) = (Instant::now(), 0, Instant::now());
    while killed < KILLS {
        assert!(started.elapsed() < Duration::from_secs(600), "{killed} kills in ten minutes");
        for _ in 0..2 {
            traffic.something().await;
        }
        tokio::time::sleep(Duration::from_millis(20 + traffic.below(250) as u64)).await;
        let function = &functions[traffic.below(functions.len())];
        killed += world.aws.kill(function);
        // The schedule starts a killed poll again after up to a minute. The test starts it earlier, to save
        // time.
        if polled.elapsed() > Duration::from_secs(2) && world.aws.processes(&functions[1]).is_empty() {
            polled = Instant::now();
            world.poll_now().await;
        }
    }
    world.poll_now().await;
    world.to_rest(Duration::from_secs(240)).await;
    // If every run of a touch was killed, the touch is among the dead letters. It is not lost.
    if world.operator.dead.depth().await.unwrap() > 0 {
        println!("{}", world.run(&["dead-letters", "--redrive"]).await);
    }
    world.holds(Duration::from_secs(180), &format!("{killed} kills")).await;
}

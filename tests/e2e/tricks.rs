//! Texts that would be commands, options, paths or lines of their own if anybody read them so: in
//! words, paths, references, authors, messages, files, variables and tasks. Each is tried for real;
//! the canary that every one of them names never appears, and no secret gets into what is printed,
//! logged or seen in the list of processes.

mod http;
mod project;
mod ssh;
mod watch;
mod words;

use crate::sshd::Sshd;
use watch::Watch;

#[test]
fn no_text_is_ever_a_command() {
    let (mut world, sshd) = Sshd::start();
    world.serve();
    let mut watch = Watch::new(&world);
    words::are_refused(&world, &watch);
    let token = world.app("app", &[]);
    let token = token.split("//").nth(1).unwrap().split('@').next().unwrap();
    watch.secret("the token", token);
    http::paths_are_refused(&world, &watch, token);
    let commit = project::is_deployed_as_it_is(&world, &mut watch, token);
    http::references_are_refused(&world, &watch, token, &commit);
    ssh::pushes_are_refused(&world, &sshd, &watch);
    words::revisions_are_refused(&world, &watch);
    words::values_arrive_as_they_are(&world, &mut watch);
    watch.end(&world);
}

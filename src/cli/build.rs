//! `build --print-dockerfile`: what a push would be built from if every file of the
//! folder were committed as it is now.

use std::path::Path;
use std::process::ExitCode;

use zarpar_builder::{Checkout, Plan};

use super::output;
use crate::report::fail;

pub(crate) fn print_dockerfile(path: &Path) -> ExitCode {
    let checkout = match Checkout::folder(path) {
        Ok(checkout) => checkout,
        Err(error) => return fail(&error, 1),
    };
    match Plan::decide(checkout) {
        Ok(plan) => match plan
            .generated
            .or_else(|| plan.checkout.text(&plan.dockerfile))
        {
            Some(text) => {
                output::bytes(text.as_bytes());
                ExitCode::SUCCESS
            }
            None => fail(
                &std::io::Error::other(format!("`{}` is no text file", plan.dockerfile)),
                1,
            ),
        },
        Err(error) => fail(&error, 1),
    }
}

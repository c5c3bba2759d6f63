#[derive(clap::Args)]
pub struct Args {}
pub fn run(_: Args, _: &super::context::Context) -> Result<super::exit::Exit, super::failure::Failure> {
    Ok(super::exit::Exit::Done)
}

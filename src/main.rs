//! The `vizard` command: see [`vizard::cli`].

fn main() -> std::process::ExitCode {
    vizard::cli::run()
}

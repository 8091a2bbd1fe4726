use steadfast_domain::RawJson;
use steadfast_queue::{Failure, Finish};

use super::control::End;
use super::guarded::Ended;
use crate::program::Program;

/// What a run has brought.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) ended: Ended,
    /// Whether it was told to stop.
    pub(super) was_stopped: bool,
    pub(super) result: Option<RawJson>,
    /// The last lines of standard error.
    pub(super) errors: String,
    /// The newest checkpoint that it reported.
    pub(super) checkpoint: Option<RawJson>,
}

/// What it means for the job. A program that was told to stop has yielded, unless it says that it is done.
pub(super) fn outcome(program: &Program, run: Run) -> Result<Finish, Failure> {
    let Run { ended, was_stopped, result, errors, checkpoint } = run;
    let is_one_of = |codes: &[u8], code| codes.iter().any(|known| i32::from(*known) == code);
    let with_errors = |said: String| if errors.is_empty() { said } else { format!("{said}: {errors}") };
    match ended {
        Ended::Program(End::Code(code)) if is_one_of(&program.completed_codes, code) => {
            Ok(Finish::Completed(result))
        }
        _ if was_stopped => Ok(Finish::Yield { checkpoint }),
        Ended::Program(End::Code(code)) => {
            let message = with_errors(format!("the program ended with exit code {code}"));
            let retryable = !is_one_of(&program.permanent_codes, code);
            Err(Failure { retryable, ..Failure::retryable("exit_code", message) })
        }
        Ended::Program(End::Signal(signal)) => {
            let message = with_errors(format!("the program was ended by signal {signal}"));
            Err(Failure::retryable("signal", message))
        }
        Ended::NotStarted(why) => Err(Failure::retryable("not_started", why)),
        Ended::Killed | Ended::GuardLost => {
            Err(Failure::retryable("guard_lost", "the guard of the program ended before it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use steadfast_domain::ProgramName;

    use super::*;

    fn told(ended: Ended, was_stopped: bool) -> String {
        let mut program = Program::new(ProgramName::new("a").unwrap(), "/bin/true".into());
        program.completed_codes = vec![0, 3];
        let json = |text| Some(RawJson::parse(text).unwrap());
        let run = Run {
            ended,
            was_stopped,
            result: json("1"),
            errors: "no such host".to_owned(),
            checkpoint: json("2"),
        };
        match outcome(&program, run) {
            Ok(Finish::Completed(result)) => format!("completed {}", result.unwrap().as_str()),
            Ok(Finish::Yield { checkpoint }) => format!("yield {}", checkpoint.unwrap().as_str()),
            Err(failure) => {
                let again = if failure.retryable { "retry" } else { "dead" };
                format!("{again} {failure}")
            }
        }
    }

    #[test]
    fn exit_codes_say_what_becomes_of_the_job() {
        let code = |code| told(Ended::Program(End::Code(code)), false);
        assert_eq!(code(0), "completed 1");
        assert_eq!(code(3), "completed 1");
        assert_eq!(code(1), "retry exit_code: the program ended with exit code 1: no such host");
        assert_eq!(code(75), "retry exit_code: the program ended with exit code 75: no such host");
        for permanent in [64, 65, 100] {
            assert!(code(permanent).starts_with("dead exit_code: "), "{permanent}");
        }
        let signal = told(Ended::Program(End::Signal(11)), false);
        assert_eq!(signal, "retry signal: the program was ended by signal 11: no such host");
        let missing = told(Ended::NotStarted("No such file".to_owned()), false);
        assert_eq!(missing, "retry not_started: No such file");
        assert!(told(Ended::GuardLost, false).starts_with("retry guard_lost: "));
    }

    #[test]
    fn a_program_that_was_told_to_stop_yields_unless_it_is_done() {
        assert_eq!(told(Ended::Program(End::Code(0)), true), "completed 1");
        for ended in [End::Code(1), End::Code(65), End::Signal(15)] {
            assert_eq!(told(Ended::Program(ended), true), "yield 2", "{ended:?}");
        }
        assert_eq!(told(Ended::Killed, true), "yield 2");
    }
}

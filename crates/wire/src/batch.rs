use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use steadfast_domain::{NewJob, limits};

use crate::members::{Faults, Members, Misread, elements};
use crate::submit::read_element;
use crate::{Durability, JobDocument, SubmitRequest};

/// The body of `POST /v1/jobs/batch` as a client writes it: 1 to 1,000 jobs, all or none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct BatchRequest {
    /// The jobs.
    #[schemars(length(min = 1, max = limits::BATCH_JOBS_MAX))]
    pub jobs: Vec<SubmitRequest>,
}

/// The answer to an accepted batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchAnswer {
    /// The jobs, in the request's order.
    #[schemars(length(min = 1, max = limits::BATCH_JOBS_MAX))]
    pub jobs: Vec<JobDocument>,
    /// What they survive.
    pub durability: Durability,
}

/// Reads the body of `POST /v1/jobs/batch`, as [`read_job`](crate::read_job) does; pointers begin with
/// `#/jobs/{index}`.
pub fn read_batch(body: &str) -> Result<Vec<NewJob>, Misread> {
    let mut faults = Faults::default();
    let members = Members::of_body(body, &["jobs"], &mut faults)?;
    let jobs = members.and_then(|members| jobs_of(&members, &mut faults));
    faults.or(jobs)
}

fn jobs_of(members: &Members<'_, 1>, faults: &mut Faults) -> Option<Vec<NewJob>> {
    const AT: &str = "#/jobs";
    let Some(value) = members.value("jobs") else {
        faults.add_here(AT, "is required");
        return None;
    };
    let elements = elements(value, AT, limits::BATCH_JOBS_MAX, faults)?;
    if elements.is_empty() {
        faults.add_here(AT, "is empty: a batch has at least one job");
    }
    let jobs = elements.into_iter().enumerate();
    Some(jobs.filter_map(|(index, job)| read_element(job, &format!("{AT}/{index}"), faults)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_point_into_the_batch() {
        let Err(Misread::Invalid(faults)) = read_batch(r#"{"jobs":[{"kind":"echo"},{},7],"more":1}"#) else {
            panic!("no faults")
        };
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["#/more", "#/jobs/1/kind", "#/jobs/2"]);
    }

    #[test]
    fn a_batch_has_1_to_1000_jobs() {
        let batch = |jobs: usize| format!(r#"{{"jobs":[{}]}}"#, vec![r#"{"kind":"echo"}"#; jobs].join(","));
        assert_eq!(read_batch(&batch(1_000)).unwrap().len(), 1_000);
        assert!(read_batch(&batch(1_001)).is_err());
        assert!(read_batch(&batch(0)).is_err());
        assert!(read_batch("{}").is_err());
    }
}

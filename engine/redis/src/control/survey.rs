//! Survey: one question to all nodes, and their answers.
//!
//! In:  who is asked; answers; nodes that are gone; the time.
//! Out: outcomes: what was answered, and who did not answer. A dead node delays no survey beyond its deadline.
//!
//! No I/O, no clock.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use bytes::Bytes;

/// How surveys are held.
#[derive(Debug, Clone, Copy)]
pub struct SurveyOptions {
    /// A survey is over after this time, whoever has answered. 1 s.
    pub within: Duration,
    /// Surveys that are open at a time. 1,024.
    pub open_max: usize,
    /// Bytes of all answers to open surveys; a longer answer counts as none. 64 MiB.
    pub bytes_max: usize,
}

impl Default for SurveyOptions {
    fn default() -> Self {
        Self { within: Duration::from_secs(1), open_max: 1_024, bytes_max: 64 << 20 }
    }
}

/// [`SurveyOptions::open_max`] are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many surveys are open")]
pub struct TooMany;

/// What one node answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyAnswer {
    /// The node.
    pub uid: String,
    /// 0 where it went well.
    pub code: u32,
    /// The answer.
    pub data: Bytes,
}

/// A survey that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which one.
    pub id: u64,
    /// As they came.
    pub answers: Vec<SurveyAnswer>,
    /// Who was asked and did not answer, or too late, or too much. In order of names.
    pub missing: Vec<String>,
}

impl Outcome {
    /// True exactly when somebody who was asked is missing: whoever passes the answers on has to say so.
    pub fn is_partial(&self) -> bool {
        !self.missing.is_empty()
    }
}

#[derive(Debug)]
struct Open {
    waiting: HashSet<String>,
    missing: Vec<String>,
    answers: Vec<SurveyAnswer>,
    until: Instant,
}

/// Surveys that are open.
#[derive(Debug)]
pub struct Surveys {
    options: SurveyOptions,
    open: HashMap<u64, Open>,
    last_id: u64,
    bytes: usize,
}

impl Surveys {
    /// None is open.
    pub fn new(options: SurveyOptions) -> Self {
        Self { options, open: HashMap::new(), last_id: 0, bytes: 0 }
    }

    /// Opens one. Where nobody is asked, it is over at once.
    ///
    /// # Errors
    ///
    /// Too many are open.
    pub fn begin(&mut self, asked: Vec<String>, now: Instant) -> Result<(u64, Option<Outcome>), TooMany> {
        if self.open.len() >= self.options.open_max {
            return Err(TooMany);
        }
        self.last_id += 1;
        let open = Open {
            waiting: asked.into_iter().collect(),
            missing: Vec::new(),
            answers: Vec::new(),
            until: now + self.options.within,
        };
        self.open.insert(self.last_id, open);
        Ok((self.last_id, self.close_if(self.last_id, |open| open.waiting.is_empty())))
    }

    /// Takes an answer in; the outcome where it was the last one. Who was not asked, or has answered, is not listened to.
    pub fn answer(&mut self, id: u64, uid: &str, code: u32, data: &[u8]) -> Option<Outcome> {
        let open = self.open.get_mut(&id)?;
        let uid = open.waiting.take(uid)?;
        if self.bytes.saturating_add(data.len()) > self.options.bytes_max {
            open.missing.push(uid);
        } else {
            self.bytes += data.len();
            open.answers.push(SurveyAnswer { uid, code, data: Bytes::copy_from_slice(data) });
        }
        self.close_if(id, |open| open.waiting.is_empty())
    }

    /// A node is gone: nobody waits for it.
    pub fn forget(&mut self, uid: &str) -> Vec<Outcome> {
        for open in self.open.values_mut() {
            open.missing.extend(open.waiting.take(uid));
        }
        self.close_all(|open| open.waiting.is_empty())
    }

    /// Ends those whose time is over.
    pub fn expire(&mut self, now: Instant) -> Vec<Outcome> {
        self.close_all(|open| now >= open.until)
    }

    /// When the first one ends.
    pub fn due(&self) -> Option<Instant> {
        self.open.values().map(|open| open.until).min()
    }

    fn close_all(&mut self, is_over: impl Fn(&Open) -> bool) -> Vec<Outcome> {
        let mut over: Vec<u64> =
            self.open.iter().filter(|(_, open)| is_over(open)).map(|(id, _)| *id).collect();
        over.sort_unstable();
        over.into_iter().filter_map(|id| self.close_if(id, |_| true)).collect()
    }

    fn close_if(&mut self, id: u64, is_over: impl Fn(&Open) -> bool) -> Option<Outcome> {
        if !is_over(self.open.get(&id)?) {
            return None;
        }
        let Open { waiting, mut missing, answers, .. } = self.open.remove(&id)?;
        self.bytes -= answers.iter().map(|answer| answer.data.len()).sum::<usize>();
        missing.extend(waiting);
        missing.sort_unstable();
        Some(Outcome { id, answers, missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn after_its_time_a_survey_is_over_and_says_who_is_missing() {
        let now = Instant::now();
        let mut surveys = Surveys::new(SurveyOptions::default());
        let (id, over) = surveys.begin(names(&["a", "b", "c"]), now).unwrap();
        assert_eq!(over, None);
        assert_eq!(surveys.answer(id, "b", 0, b"x"), None);
        assert_eq!(surveys.answer(id, "b", 0, b"again"), None);
        assert_eq!(surveys.answer(id, "stranger", 0, b"x"), None);
        assert_eq!(surveys.answer(id + 1, "a", 0, b"x"), None);
        assert!(surveys.expire(now + Duration::from_millis(999)).is_empty());
        assert_eq!(surveys.due(), Some(now + Duration::from_secs(1)));
        let [outcome] = &surveys.expire(now + Duration::from_secs(1))[..] else { panic!("one is over") };
        assert_eq!((outcome.answers.len(), &outcome.missing[..]), (1, &names(&["a", "c"])[..]));
        assert!(outcome.is_partial());
        assert_eq!(surveys.answer(id, "a", 0, b"late"), None);
        assert_eq!((surveys.bytes, surveys.due()), (0, None));
    }

    #[test]
    fn where_nobody_is_asked_it_is_over_at_once() {
        let mut surveys = Surveys::new(SurveyOptions::default());
        let (id, over) = surveys.begin(Vec::new(), Instant::now()).unwrap();
        assert_eq!(over, Some(Outcome { id, answers: Vec::new(), missing: Vec::new() }));
    }

    #[test]
    fn surveys_and_their_answers_have_limits() {
        let now = Instant::now();
        let mut surveys =
            Surveys::new(SurveyOptions { open_max: 1, bytes_max: 10, ..SurveyOptions::default() });
        let (id, _) = surveys.begin(names(&["a", "b"]), now).unwrap();
        assert_eq!(surveys.begin(names(&["a"]), now), Err(TooMany));
        assert_eq!(surveys.answer(id, "a", 0, &[0; 8]), None);
        let outcome = surveys.answer(id, "b", 0, &[0; 3]).unwrap();
        assert_eq!((outcome.answers.len(), outcome.missing), (1, names(&["b"])));
        assert_eq!(surveys.bytes, 0);
    }
}

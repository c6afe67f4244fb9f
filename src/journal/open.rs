//! Opening a state folder: lock it, decide whether the checkpoints are to be trusted, fold what they miss, take up the
//! last segment again.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use tokio::sync::watch;

use crate::event::IdGenerator;
use crate::journal::checkpoints::{Checkpoints, Pace};
use crate::journal::drain::Drain;
use crate::journal::events::routable_after;
use crate::journal::files::Files;
use crate::journal::format::{FORMAT, HeadError, Position, SEGMENT_HEAD};
use crate::journal::group::{Formed, Memory};
use crate::journal::index::{self, Summary};
use crate::journal::lock::{self, failed};
use crate::journal::marker::{self, Found, Marker};
use crate::journal::printfile;
use crate::journal::prints::Prints;
use crate::journal::queue::Queue;
use crate::journal::rebuild::{ReplayError, Replayed, missing_first, replay};
use crate::journal::repair;
use crate::journal::reserve::Reserve;
use crate::journal::retire::Retire;
use crate::journal::rows::{RowKey, Standing};
use crate::journal::scan::{journal_dir, read_head, segment_numbers, segment_path};
use crate::journal::segment::{NextSegment, OpenSegment};
use crate::journal::shared::Shared;
use crate::journal::state::State;
use crate::journal::words::{Damage, Health, OpenError, OpenReport, Options};
use crate::journal::writer::{Meters, Writer};
use crate::time::Timestamp;

/// Segments are addressed with 32 bits, with room for one group beyond the limit.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// While segments are folded, this many changed rows go to the checkpoints at once.
const REPLAY_ROWS_MAX: usize = 2_048;

type Opened<T> = Result<T, OpenError>;

/// Everything that opening finds and makes, step by step.
struct Opening<'a> {
    dir: &'a Path,
    journal: PathBuf,
    files: Files,
    options: Options,
    report: OpenReport,
}

/// Opens the journal in `dir` and gives its shared part and its writer, which is not running yet.
pub(super) fn open(dir: &Path, options: Options, files: Files) -> Opened<(Arc<Shared>, Writer, OpenReport)> {
    lock::prepare(&files, dir)?;
    let lock = lock::take(&files, dir)?;
    let mut opening = Opening { dir, journal: journal_dir(dir), files, options, report: OpenReport::default() };
    let marker = opening.check_formats()?;
    let reserve = Reserve::open(&opening.files, dir).map_err(|error| failed("write in", dir, &error))?;
    lock::sign(&lock).map_err(|error| failed("write", &dir.join("lock"), &error))?;
    opening.files.make_dir(&opening.journal).map_err(|error| failed("make", &opening.journal, &error))?;
    opening.make_names_durable()?;
    let numbers = opening.segments()?;
    let new = numbers.is_empty() && marker == Found::Missing && !dir.join("checkpoints").exists();
    let reason = if new { None } else { marker::distrust(&marker, &opening.options.boot_id) };
    let checkpoints = opening.checkpoints(reason)?;
    let mut state = opening.standing(checkpoints, &numbers)?;
    let last = opening.fold(&mut state, &numbers)?;
    let missing = missing_first(&state, &numbers).map_err(|error| failed("read", &dir.join("checkpoints"), &error))?;
    if let Some(number) = missing {
        return Err(damaged(&segment_path(&opening.journal, number), 0, "it is missing, and was not removed by retention"));
    }
    let (segment, next_group) = opening.segment(&mut state, last)?;
    let prints = Prints::load(&state, &opening.files).map_err(|error| failed("read", &opening.journal, &error))?;
    opening.writer(state, segment, next_group, prints, reserve, lock)
}

impl Opening<'_> {
    /// Looks at every version before anything is changed.
    fn check_formats(&self) -> Opened<Found> {
        let marker = marker::read(self.dir).map_err(|error| failed("read", self.dir, &error))?;
        if let Found::Newer(version) = marker {
            return Err(newer_format(&self.dir.join("store.json"), version));
        }
        for number in self.segments_found()? {
            let path = segment_path(&self.journal, number);
            let head = read_head(&path).map_err(|error| failed("read", &path, &error))?;
            match head {
                Err(HeadError::Newer(version)) => return Err(newer_format(&path, version)),
                Ok(head) if head.number == number => {}
                Ok(_) | Err(HeadError::Unreadable) => return Err(damaged(&path, 0, "its head does not verify")),
            }
        }
        Ok(marker)
    }

    /// The process before may have ended between giving a name, to a folder or a segment, and syncing it. What is acknowledged
    /// from here on stands under these names.
    fn make_names_durable(&self) -> Opened<()> {
        let parent = self.dir.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
        for folder in [Some(&*self.journal), Some(self.dir), parent].into_iter().flatten() {
            match self.files.sync_dir(folder) {
                // Who may not look into the folder above did not make ours there.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && Some(folder) == parent => {}
                synced => synced.map_err(|error| failed("sync", folder, &error))?,
            }
        }
        Ok(())
    }

    fn segments_found(&self) -> Opened<Vec<u32>> {
        segment_numbers(&self.journal).map_err(|error| failed("read", &self.journal, &error))
    }

    /// The segments, without gaps.
    fn segments(&self) -> Opened<Vec<u32>> {
        let numbers = self.segments_found()?;
        match numbers.windows(2).find(|pair| pair[1] != pair[0] + 1) {
            None => Ok(numbers),
            Some(pair) => {
                let missing = segment_path(&self.journal, pair[0] + 1);
                Err(OpenError::Damaged(format!(
                    "`{}` is missing, and with it events that were acknowledged; {LOSS_REMEDY}",
                    missing.display()
                )))
            }
        }
    }

    /// Opens the checkpoints, or sets aside those that are not to be trusted and begins new ones. The marker says
    /// "open" before sled touches a file.
    fn checkpoints(&mut self, reason: Option<String>) -> Opened<Arc<Checkpoints>> {
        let dir = self.dir.join("checkpoints");
        if let Some(reason) = reason {
            self.set_aside(&dir, reason)?;
        }
        let open = Marker::now(&self.options.boot_id, false);
        marker::write(&self.files, self.dir, &open).map_err(|error| failed("write the marker in", self.dir, &error))?;
        let checked = |dir: &Path| {
            let opened = Checkpoints::open(dir).and_then(|checkpoints| checkpoints.standing().map(|_| checkpoints));
            // Reading the first row may panic as well as opening.
            opened.map(Arc::new)
        };
        match std::panic::catch_unwind(AssertUnwindSafe(|| checked(&dir))) {
            Ok(Ok(checkpoints)) => return Ok(checkpoints),
            Ok(Err(error)) => self.set_aside(&dir, error.to_string())?,
            Err(_) => self.set_aside(&dir, "sled panicked".to_owned())?,
        }
        checked(&dir).map_err(|error| failed("make", &dir, &error))
    }

    fn set_aside(&mut self, dir: &Path, reason: String) -> Opened<()> {
        // Whatever stands there, a link to nowhere included.
        if dir.symlink_metadata().is_ok() {
            let aside = dir.with_extension("aside");
            let moved = remove_if_there(&aside).and_then(|()| self.files.rename(dir, &aside)).and_then(|()| self.files.sync_dir(self.dir));
            moved.map_err(|error| failed("set aside", dir, &error))?;
        }
        tracing::warn!(reason, "the checkpoints are rebuilt from the journal");
        self.report.rebuilt = Some(reason);
        Ok(())
    }

    /// The state as the checkpoints have it, after comparing them with the segments.
    fn standing(&mut self, checkpoints: Arc<Checkpoints>, numbers: &[u32]) -> Opened<State> {
        match self.loaded(checkpoints, numbers)? {
            Ok(state) => Ok(state),
            Err(error) => {
                // Half of a state is worse than none; the rows are made again.
                self.set_aside(&self.dir.join("checkpoints"), error.to_string())?;
                let checkpoints = self.checkpoints(None)?;
                Ok(State::new(self.journal.clone(), Some(checkpoints), Standing::default()))
            }
        }
    }

    fn loaded(&self, checkpoints: Arc<Checkpoints>, numbers: &[u32]) -> Opened<std::io::Result<State>> {
        let standing = match checkpoints.standing() {
            Ok(standing) => standing.unwrap_or_default(),
            Err(error) => return Ok(Err(error)),
        };
        let at = standing.next;
        if at.segment > 0 {
            let path = segment_path(&self.journal, at.segment);
            if numbers.last().is_none_or(|last| *last < at.segment) {
                return Err(damaged(&path, at.offset, "it is missing, and the checkpoints know acknowledged records in it"));
            }
            if numbers.first().is_some_and(|first| *first > at.segment) {
                return Err(damaged(&path, at.offset, "it is missing, and later segments are there"));
            }
        }
        let mut state = State::new(self.journal.clone(), Some(checkpoints), standing);
        Ok(state.load_timers().map(|()| state))
    }

    /// Folds what the checkpoints miss, segment by segment; the last one comes back.
    fn fold(&mut self, state: &mut State, numbers: &[u32]) -> Opened<Option<Replayed>> {
        let from = state.standing.next;
        let mut pace = Pace::default();
        let mut next_group = None;
        // What was dropped and not removed yet is as good as gone; retention removes it.
        let first = state.standing.heads.first;
        for &number in numbers.iter().filter(|number| **number >= first) {
            let path = segment_path(&self.journal, number);
            let last = numbers.last() == Some(&number);
            let known = state.bytes_row(&RowKey::Segment(number)).ok().flatten().and_then(|row| Summary::from_bytes(&row).ok());
            if let Some(summary) = known.filter(|_| !last && number < from.segment) {
                state.sealed.push(summary);
                next_group = Some(summary.last_group + 1);
                continue;
            }
            let mut each = |state: &mut State| match (state.dirty.len() > REPLAY_ROWS_MAX).then(|| Drain::ahead(state)).flatten() {
                Some(drain) => drain.finish(state, &mut pace),
                None => Ok(()),
            };
            let replayed = replay(state, &path, number, from, &mut each).map_err(|error| match error {
                ReplayError::Head => damaged(&path, 0, "its head does not verify"),
                ReplayError::Io(error) => failed("fold", &path, &error),
            })?;
            let replayed = self.mended(state, &path, replayed)?;
            self.check(&path, &replayed, next_group, last, state.standing.next)?;
            next_group = Some(replayed.end.next_group);
            self.report.replayed += replayed.records;
            if number >= state.standing.next.segment {
                let reached = Position { segment: number, offset: replayed.end.end };
                if reached > state.standing.next {
                    state.standing.next = reached;
                    state.standing.group = replayed.end.next_group;
                }
            }
            if last {
                return Ok(Some(replayed));
            }
            state.keep_index(&replayed.index);
            printfile::write(&self.files, &self.journal, replayed.head, &replayed.index.prints);
            // So that a start that is cut short is not done from the beginning again.
            if let Some(drain) = Drain::begin(state) {
                drain.finish(state, &mut pace).map_err(|error| failed("write", &self.dir.join("checkpoints"), &error))?;
            }
        }
        Ok(None)
    }

    /// Mends what a scan found damaged though it was acknowledged, and says so.
    fn mended(&mut self, state: &mut State, path: &Path, mut replayed: Replayed) -> Opened<Replayed> {
        let now = self.options.clock.now();
        let mut mended = repair::mend(&self.files, self.dir, state, &mut replayed, now).map_err(|error| failed("mend", path, &error))?;
        mended.extend(replayed.senseless.iter().map(|offset| Damage::senseless(path, *offset)));
        for damage in &mended {
            tracing::error!("{damage}");
        }
        self.report.damage.extend(mended);
        Ok(replayed)
    }

    /// Whether what a scan found may be: a torn tail is only at the end of the last segment.
    fn check(&mut self, path: &Path, replayed: &Replayed, next_group: Option<u64>, last: bool, standing: Position) -> Opened<()> {
        let (head, end) = (replayed.head, &replayed.end);
        if next_group.is_some_and(|group| group != head.first_group) {
            return Err(damaged(path, 0, "its groups do not follow those of the segment before it"));
        }
        if !last && !end.sealed {
            return Err(damaged(path, end.end, "its end is missing"));
        }
        if standing.segment == head.number && standing.offset > end.end {
            return Err(damaged(path, end.end, "the checkpoints know acknowledged records behind its end"));
        }
        if last && !end.sealed && end.tail > 0 {
            tracing::warn!(file = %path.display(), offset = end.end, bytes = end.tail, "cutting a group that was never acknowledged");
            self.report.cut = end.tail;
        }
        Ok(())
    }

    /// The segment that is written next: the last one, or a new one behind it.
    fn segment(&self, state: &mut State, last: Option<Replayed>) -> Opened<(OpenSegment, u64)> {
        let limit = self.options.segment_bytes.min(SEGMENT_BYTES_MAX);
        let begin = |number: u32, group: u64| {
            let path = segment_path(&self.journal, number);
            NextSegment::prepare(&self.files, &self.journal, number, group, limit, 0)
                .and_then(|next| next.take(&self.files, &self.journal))
                .map_err(|error| failed("make", &path, &error))
        };
        let (segment, index, group) = match last {
            None => (begin(1, 1)?, index::SegmentIndex::new(1), 1),
            Some(last) if last.end.sealed => {
                let (number, group) = (last.head.number + 1, last.end.next_group);
                state.keep_index(&last.index);
                printfile::write(&self.files, &self.journal, last.head, &last.index.prints);
                (begin(number, group)?, index::SegmentIndex::new(number), group)
            }
            Some(last) => {
                let path = segment_path(&self.journal, last.head.number);
                let (end, tail) = (u64::from(last.end.end), last.end.tail);
                let segment = OpenSegment::resume(&self.files, path.clone(), last.head, end, tail, limit)
                    .map_err(|error| failed("take up", &path, &error))?;
                (segment, last.index, last.end.next_group)
            }
        };
        state.open = index;
        state.open.summary.end = segment.end.max(SEGMENT_HEAD as u64) as u32;
        state.open_head = segment.head;
        state.open_file = Some(Arc::clone(&segment.file));
        state.standing.next = Position { segment: segment.head.number, offset: state.open.summary.end };
        state.standing.group = group;
        Ok((segment, group))
    }

    fn writer(
        mut self,
        mut state: State,
        segment: OpenSegment,
        next_group: u64,
        prints: Prints,
        reserve: Reserve,
        lock: std::fs::File,
    ) -> Opened<(Arc<Shared>, Writer, OpenReport)> {
        let heads = state.standing.heads.clone();
        let mut backlog = std::mem::take(&mut state.backlog);
        routable_after(&state, heads.routed, &mut |id| backlog.push(id, 0)).map_err(|error| failed("read", &self.journal, &error))?;
        state.backlog = backlog;
        state.dedup_since = prints.since();
        self.report.events = heads.events;
        self.report.open_runs = state.timers.open;
        self.report.newest = i64::try_from(heads.newest.millis()).ok().filter(|millis| *millis > 0).map(Timestamp::from_millis);
        let owed = reserve.is_owed().then(|| "there was none when it was opened".to_owned());
        let shared = Arc::new(Shared {
            queue: Queue::new(),
            state: RwLock::new(state),
            retention: Mutex::default(),
            hot: Mutex::default(),
            newest: watch::Sender::new(heads.newest),
            due: watch::Sender::new(0),
            woken: watch::Sender::new(0),
            health: watch::Sender::new(owed.clone().map_or(Health::Good, Health::Full)),
        });
        let ids = IdGenerator::after(heads.newest);
        let writer = Writer {
            shared: Arc::clone(&shared),
            files: self.files,
            clock: self.options.clock,
            dir: self.dir.to_owned(),
            boot_id: self.options.boot_id,
            segment,
            segment_bytes: self.options.segment_bytes.min(SEGMENT_BYTES_MAX),
            next_group,
            memory: Memory { journal: self.journal, prints, ids, generation: (heads.generation, heads.rules_hash), last_read: None },
            drain: None,
            pace: Pace::default(),
            drained: Instant::now(),
            meters: Meters::new(),
            spare: Formed::default(),
            retire: Retire::default(),
            full: owed.clone().map(|why| (Instant::now(), 0, why)),
            reserve,
            ahead_failed: None,
            distrusted: false,
            _lock: lock,
        };
        Ok((shared, writer, self.report))
    }
}

/// Removes a folder with all in it, or a file.
fn remove_if_there(path: &Path) -> std::io::Result<()> {
    let removed = match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => std::fs::remove_file(path),
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A file of a version to come.
pub(super) fn newer_format(path: &Path, version: u32) -> OpenError {
    OpenError::Format(format!(
        "`{}` has format {version}, and this version of tripline reads formats up to {FORMAT}; use the newer version that wrote it, or another state folder; nothing was changed",
        path.display()
    ))
}

/// What helps when acknowledged records are gone.
const LOSS_REMEDY: &str = "nothing in the journal was changed: bring the state folder back from a backup, or go on without them with `tripline state rebuild --accept-loss`";

fn damaged(path: &Path, offset: u32, why: &str) -> OpenError {
    OpenError::Damaged(format!("`{}` is damaged at byte {offset}: {why}; acknowledged events may be lost; {LOSS_REMEDY}", path.display()))
}

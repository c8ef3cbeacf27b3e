//! The system call behind thread priorities.

/// Adds `by` to the niceness of the calling thread: Linux keeps one for each thread. More niceness is granted to everybody,
/// so there is no error to report.
pub(super) fn lower_priority(by: libc::c_int) {
    // SAFETY: `nice` takes a plain number and touches no memory of ours.
    let _niceness = unsafe { libc::nice(by) };
}

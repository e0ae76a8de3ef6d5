//! The C library's heap, which Rust and SQLite share.
//!
//! The one place of the workspace with `unsafe`: two functions of glibc that take numbers and touch no memory of ours,
//! and have no safe face in any crate that we found.

use std::ffi::c_int;

/// Blocks of this size and more are mapped by themselves, so that freeing them gives them back at once.
const MAPPED: c_int = 32 << 10;

/// So much of free memory at the heap's end is kept.
const KEPT: c_int = 64 << 10;

/// Sets the heap up for a small process. Call it first: what is allocated before is not moved.
///
/// By itself glibc makes a heap for each thread and keeps in it what that thread freed; and it raises the size from which
/// on blocks are mapped to the largest that was ever freed, so that one large value would stay part of the heap for ever.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "mallopt sets three numbers; it may be called at any time, by any thread")]
pub fn settle() {
    for (parameter, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, MAPPED), (libc::M_TRIM_THRESHOLD, KEPT)]
    {
        // SAFETY: no pointers are involved; a parameter that is not known is refused and changes nothing.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives free memory back to the kernel, wherever it lies in the heap. Takes about a millisecond for a heap of our size.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "malloc_trim releases pages that hold nothing but free blocks")]
pub fn trim() {
    // SAFETY: it takes the heap's own locks, and allocated blocks stay where they are.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries do as they do.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn settle() {}

/// Other C libraries do as they do.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn trim() {}

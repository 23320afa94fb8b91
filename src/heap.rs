//! The heap in huge pages, for processes that scan.
//!
//! A cold scan writes to tens of megabytes of new memory, and the kernel's work for each small page is a tenth of what the
//! scan costs, more in a virtual machine. So the heap grows in large steps, which the kernel is told to back by huge pages
//! where it has them, and what is freed stays until the process rests. Resident memory hardly grows by that: the kernel
//! backs only what is written to.
//!
//! **Source:** mallopt(3), madvise(2).

#![expect(unsafe_code, reason = "the C library's allocator has no safe interface")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How much the heap grows at a time, at least.
const STEP_BYTES: libc::c_int = 32 << 20;

/// How much freed memory at the end of the heap is kept.
const KEPT_BYTES: libc::c_int = 64 << 20;

/// From which size on an allocation is a mapping of its own: the largest that the allocator takes.
const MAPPED_BYTES: libc::c_int = 32 << 20;

/// How many processors share one heap. The first heap alone is in huge pages, but threads wait for each other in it.
const PROCESSORS_OF_A_HEAP: usize = 4;

/// The size of a huge page, to which the kernel rounds.
const HUGE_PAGE_BYTES: usize = 2 << 20;

static IS_PREPARED: AtomicBool = AtomicBool::new(false);

/// The end of that part of the heap of which the kernel was told.
static COVERED_TO: AtomicUsize = AtomicUsize::new(0);

/// Prepares the heap of a process that will scan. Does its best; nothing depends on it.
pub(crate) fn prepare() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let heaps = processors.div_ceil(PROCESSORS_OF_A_HEAP) as libc::c_int;
    let options = [
        (libc::M_ARENA_MAX, heaps),
        (libc::M_TOP_PAD, STEP_BYTES),
        (libc::M_TRIM_THRESHOLD, KEPT_BYTES),
        (libc::M_MMAP_THRESHOLD, MAPPED_BYTES),
    ];
    for (option, value) in options {
        // SAFETY: it only sets a parameter of the allocator.
        unsafe { libc::mallopt(option, value) };
    }
    COVERED_TO.store(heap_end(), Ordering::Relaxed);
    IS_PREPARED.store(true, Ordering::Relaxed);
    // Makes the heap grow by its first step.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(HUGE_PAGE_BYTES)));
    cover();
}

/// Asks for huge pages for what the heap has grown by. A look at a variable where it has not.
pub(crate) fn cover() {
    if !IS_PREPARED.load(Ordering::Relaxed) {
        return;
    }
    let end = heap_end();
    let start = COVERED_TO.swap(end, Ordering::Relaxed).next_multiple_of(HUGE_PAGE_BYTES);
    if start < end {
        // SAFETY: the advice changes no content, whatever is mapped there.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
    }
}

/// Gives what is free back to the kernel.
pub(crate) fn give_back() {
    if IS_PREPARED.load(Ordering::Relaxed) {
        // SAFETY: it unmaps memory that is free.
        unsafe { libc::malloc_trim(0) };
    }
}

/// The address behind the heap.
fn heap_end() -> usize {
    // SAFETY: zero changes nothing.
    unsafe { libc::sbrk(0) as usize }
}

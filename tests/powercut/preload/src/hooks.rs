//! The functions that stand in for libc's.
//!
//! `open` and its kin take their mode variadically in C. Declared here with a fixed third argument,
//! they agree with that on the 64-bit Linux ABIs, where integers of a variadic call travel in the
//! same registers.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::slice;

use libc::{AT_FDCWD, iovec, mode_t, off_t, size_t, ssize_t};

use crate::faults::{self, Allowance};
use crate::recorder;
use crate::sys;

fn write_to(fd: c_int, buffers: &[iovec], offset: Option<off_t>) -> ssize_t {
    if !sys::is_on_disk(fd) {
        return sys::write(fd, buffers, offset);
    }
    let Some(mut recorder) = recorder::lock() else {
        return sys::write(fd, buffers, offset);
    };
    let Some((file, _)) = recorder.id_of(fd) else {
        drop(recorder);
        return sys::write(fd, buffers, offset);
    };
    let total = buffers.iter().map(|buffer| buffer.iov_len).sum();
    let mut shortened;
    let mut buffers = buffers;
    match faults::write_allowance(total) {
        Allowance::All => {}
        Allowance::Fail(errno) => {
            sys::set_errno(errno);
            return -1;
        }
        Allowance::Part(left) => {
            let first = buffers.iter().find(|buffer| buffer.iov_len > 0).copied();
            shortened = first.unwrap_or(iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            });
            shortened.iov_len = shortened.iov_len.min(left);
            buffers = slice::from_ref(&shortened);
        }
    }
    let written = sys::write(fd, buffers, offset);
    if written > 0 {
        let start = sys::offset_written(fd, offset, written);
        recorder.wrote(file, start, buffers, written as usize);
    }
    written
}

fn sync(fd: c_int, call: libc::c_long) -> c_int {
    if sys::is_on_disk(fd) {
        faults::wait_while_held();
    }
    let begun = recorder::lock().and_then(|mut recorder| {
        let (file, _) = recorder.id_of(fd)?;
        Some(recorder.sync_begins(fd, file))
    });
    let failed = begun.is_some() && faults::sync_fails();
    let status = if failed {
        -1
    } else {
        // SAFETY: a sync touches no memory.
        unsafe { libc::syscall(call, fd) as c_int }
    };
    if let Some(token) = begun
        && let Some(mut recorder) = recorder::lock()
    {
        recorder.sync_ended(token, status == 0);
    }
    if failed {
        sys::set_errno(libc::EIO);
    }
    status
}

fn resize(fd: c_int, call: impl FnOnce() -> c_int) -> c_int {
    let Some(mut recorder) = recorder::lock() else {
        return call();
    };
    let before = recorder.id_of(fd);
    let status = call();
    if let Some((file, before)) = before
        && let Some((_, after)) = recorder.id_of(fd)
        && status == 0
        && before.len != after.len
    {
        recorder.resized(file, after.len);
    }
    status
}

fn open_at(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let call = || {
        // SAFETY: the arguments are the caller's, who promised libc the same thing.
        unsafe { libc::syscall(libc::SYS_openat, folder, path, flags, mode) as c_int }
    };
    let (creates, truncates) = (flags & libc::O_CREAT != 0, flags & libc::O_TRUNC != 0);
    let syncs = flags & (libc::O_SYNC | libc::O_DSYNC) != 0;
    if !creates && !truncates && !syncs {
        return call();
    }
    let path = absolute(folder, path);
    let Some(mut recorder) = recorder::lock() else {
        return call();
    };
    if !recorder.watches(&path) {
        drop(recorder);
        return call();
    }
    if syncs {
        sys::die("O_SYNC and O_DSYNC are not understood");
    }
    let is_new = sys::stat(sys::At::Path(&path)).is_none();
    if creates && is_new && faults::is_full() {
        sys::set_errno(libc::ENOSPC);
        return -1;
    }
    let fd = call();
    if fd >= 0 && is_new {
        recorder.name_changed(&path);
    } else if fd >= 0
        && truncates
        && let Some((file, _)) = recorder.id_of(fd)
    {
        recorder.resized(file, 0);
    }
    fd
}

/// Does `call` and then looks at the folders that `paths` lie in.
fn rename_or_remove(paths: &[PathBuf], call: impl FnOnce() -> c_int) -> c_int {
    let Some(mut recorder) = recorder::lock() else {
        return call();
    };
    let status = call();
    if status == 0 {
        for path in paths.iter().filter(|path| !path.as_os_str().is_empty()) {
            recorder.name_changed(path);
        }
    }
    status
}

/// The path that a call means; empty if it cannot be told.
fn absolute(folder: c_int, path: *const c_char) -> PathBuf {
    if path.is_null() {
        return PathBuf::new();
    }
    // SAFETY: not null, and a string by the contract of every caller of this function.
    let path = Path::new(OsStr::from_bytes(
        unsafe { CStr::from_ptr(path) }.to_bytes(),
    ));
    let base = match folder {
        _ if path.is_absolute() => Some(PathBuf::new()),
        AT_FDCWD => std::env::current_dir().ok(),
        fd => sys::path_of(fd),
    };
    base.map(|base| base.join(path)).unwrap_or_default()
}

/// # Safety
/// As `writev(2)`: `start` points to `count` buffers that can be read.
unsafe fn buffers<'a>(start: *const iovec, count: c_int) -> &'a [iovec] {
    match usize::try_from(count) {
        // SAFETY: by the contract of this function.
        Ok(count) if count > 0 && !start.is_null() => unsafe {
            slice::from_raw_parts(start, count)
        },
        _ => &[],
    }
}

fn one(bytes: *const c_void, count: size_t) -> [iovec; 1] {
    [iovec {
        iov_base: bytes.cast_mut(),
        iov_len: count,
    }]
}

/// Declares hooks: each is exported under libc's name with libc's signature, and safe to call under
/// libc's conditions, which are those its body needs.
macro_rules! hooks {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty { $body:expr })*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) -> $result {
                $body
            }
        )*
    };
}

hooks! {
    write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
        write_to(fd, &one(bytes, count), None)
    }
    pwrite(fd: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t {
        write_to(fd, &one(bytes, count), Some(offset))
    }
    pwrite64(fd: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t {
        write_to(fd, &one(bytes, count), Some(offset))
    }
    writev(fd: c_int, start: *const iovec, count: c_int) -> ssize_t {
        // SAFETY: the caller's buffers.
        write_to(fd, unsafe { buffers(start, count) }, None)
    }
    pwritev(fd: c_int, start: *const iovec, count: c_int, offset: off_t) -> ssize_t {
        // SAFETY: the caller's buffers.
        write_to(fd, unsafe { buffers(start, count) }, Some(offset))
    }
    pwritev64(fd: c_int, start: *const iovec, count: c_int, offset: off_t) -> ssize_t {
        // SAFETY: the caller's buffers.
        write_to(fd, unsafe { buffers(start, count) }, Some(offset))
    }

    fsync(fd: c_int) -> c_int { sync(fd, libc::SYS_fsync) }
    fdatasync(fd: c_int) -> c_int { sync(fd, libc::SYS_fdatasync) }

    ftruncate(fd: c_int, len: off_t) -> c_int {
        // SAFETY: touches no memory.
        resize(fd, || unsafe { libc::syscall(libc::SYS_ftruncate, fd, len) as c_int })
    }
    ftruncate64(fd: c_int, len: off_t) -> c_int {
        // SAFETY: touches no memory.
        resize(fd, || unsafe { libc::syscall(libc::SYS_ftruncate, fd, len) as c_int })
    }
    fallocate(fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int {
        allocate(fd, mode, offset, len)
    }
    fallocate64(fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int {
        allocate(fd, mode, offset, len)
    }

    open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_at(AT_FDCWD, path, flags, mode)
    }
    open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_at(AT_FDCWD, path, flags, mode)
    }
    openat(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_at(folder, path, flags, mode)
    }
    openat64(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_at(folder, path, flags, mode)
    }
    creat(path: *const c_char, mode: mode_t) -> c_int {
        open_at(AT_FDCWD, path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode)
    }
    creat64(path: *const c_char, mode: mode_t) -> c_int {
        open_at(AT_FDCWD, path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode)
    }

    rename(from: *const c_char, to: *const c_char) -> c_int {
        move_name(AT_FDCWD, from, AT_FDCWD, to, 0)
    }
    renameat(from_in: c_int, from: *const c_char, to_in: c_int, to: *const c_char) -> c_int {
        move_name(from_in, from, to_in, to, 0)
    }
    renameat2(
        from_in: c_int, from: *const c_char, to_in: c_int, to: *const c_char, flags: libc::c_uint
    ) -> c_int {
        move_name(from_in, from, to_in, to, flags)
    }
    link(from: *const c_char, to: *const c_char) -> c_int {
        rename_or_remove(&[absolute(AT_FDCWD, to)], || {
            // SAFETY: the caller's strings.
            unsafe { libc::syscall(libc::SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0) as c_int }
        })
    }
    unlink(path: *const c_char) -> c_int { remove(AT_FDCWD, path, 0) }
    unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
        remove(folder, path, flags)
    }
    rmdir(path: *const c_char) -> c_int { remove(AT_FDCWD, path, libc::AT_REMOVEDIR) }
    mkdir(path: *const c_char, mode: mode_t) -> c_int { make_folder(AT_FDCWD, path, mode) }
    mkdirat(folder: c_int, path: *const c_char, mode: mode_t) -> c_int {
        make_folder(folder, path, mode)
    }
}

fn allocate(fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int {
    if mode & !libc::FALLOC_FL_KEEP_SIZE != 0 {
        sys::die("fallocate that changes contents is not understood");
    }
    // SAFETY: touches no memory.
    resize(fd, || unsafe {
        libc::syscall(libc::SYS_fallocate, fd, mode, offset, len) as c_int
    })
}

fn move_name(
    from_in: c_int,
    from: *const c_char,
    to_in: c_int,
    to: *const c_char,
    flags: libc::c_uint,
) -> c_int {
    rename_or_remove(&[absolute(to_in, to), absolute(from_in, from)], || {
        // SAFETY: the caller's strings.
        unsafe { libc::syscall(libc::SYS_renameat2, from_in, from, to_in, to, flags) as c_int }
    })
}

fn remove(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
    rename_or_remove(&[absolute(folder, path)], || {
        // SAFETY: the caller's string.
        unsafe { libc::syscall(libc::SYS_unlinkat, folder, path, flags) as c_int }
    })
}

fn make_folder(folder: c_int, path: *const c_char, mode: mode_t) -> c_int {
    rename_or_remove(&[absolute(folder, path)], || {
        // SAFETY: the caller's string.
        unsafe { libc::syscall(libc::SYS_mkdirat, folder, path, mode) as c_int }
    })
}

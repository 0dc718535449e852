//! The system calls that the hooks stand in front of, and what identifies a file.

use std::ffi::{CStr, CString, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libc::{iovec, off_t, ssize_t};

/// Tells an inode from a later one with the same number: ext4 hands numbers out again at once, and
/// two files can be born within one tick of the clock, so the file handle's generation is in too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Inode {
    number: u64,
    born: (i64, u32),
    handle: [u8; HANDLE_BYTES],
}

const HANDLE_BYTES: usize = 24;

/// What `statx` says, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    pub inode: Inode,
    pub is_folder: bool,
    pub is_file: bool,
    pub len: u64,
    /// Changes when names in a folder do, if not within one tick of the clock.
    pub modified: (i64, u32),
}

/// Where to look: an open file or a path.
#[derive(Debug, Clone, Copy)]
pub enum At<'a> {
    Fd(c_int),
    Path(&'a Path),
}

/// True if `fd` is a file or a folder and not a socket, pipe or terminal; the cheapest question.
pub fn is_on_disk(fd: c_int) -> bool {
    // SAFETY: `stat` is plain data for which zeros are valid, and fstat writes to nothing else.
    let (status, stat) = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::fstat(fd, &mut stat), stat)
    };
    let kind = stat.st_mode & libc::S_IFMT;
    status == 0 && (kind == libc::S_IFREG || kind == libc::S_IFDIR)
}

pub fn stat(at: At<'_>) -> Option<Stat> {
    let (fd, path) = at.resolve()?;
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    // SAFETY: the path is NUL-terminated and outlives the call; `statx` is plain data.
    let (status, found) = unsafe {
        let mut found: libc::statx = std::mem::zeroed();
        (
            libc::statx(fd, path.as_ptr(), flags, mask, &mut found),
            found,
        )
    };
    let kind = u32::from(found.stx_mode) & libc::S_IFMT;
    (status == 0).then(|| Stat {
        inode: Inode {
            number: found.stx_ino,
            born: (found.stx_btime.tv_sec, found.stx_btime.tv_nsec),
            handle: file_handle(fd, &path),
        },
        is_folder: kind == libc::S_IFDIR,
        is_file: kind == libc::S_IFREG,
        len: found.stx_size,
        modified: (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
    })
}

impl At<'_> {
    fn resolve(self) -> Option<(c_int, CString)> {
        match self {
            Self::Fd(fd) => Some((fd, CString::default())),
            Self::Path(path) => Some((
                libc::AT_FDCWD,
                CString::new(path.as_os_str().as_bytes()).ok()?,
            )),
        }
    }
}

/// The kernel's handle of a file; zeros where the file system has none.
fn file_handle(fd: c_int, path: &CStr) -> [u8; HANDLE_BYTES] {
    #[repr(C)]
    struct Handle {
        size: u32,
        kind: c_int,
        bytes: [u8; HANDLE_BYTES],
    }
    let mut handle = Handle {
        size: HANDLE_BYTES as u32,
        kind: 0,
        bytes: [0; HANDLE_BYTES],
    };
    let mut mount: c_int = 0;
    // SAFETY: `Handle` is laid out as the kernel's `file_handle` with room for `size` bytes.
    let status = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            fd,
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    if status == 0 {
        handle.bytes
    } else {
        [0; HANDLE_BYTES]
    }
}

/// The path an open file has now.
pub fn path_of(fd: c_int) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

/// `writev`, or `pwritev` with an offset, past every hook.
pub fn write(fd: c_int, buffers: &[iovec], offset: Option<off_t>) -> ssize_t {
    let (start, count) = (buffers.as_ptr(), buffers.len());
    // SAFETY: the buffers are the caller's, who promised libc the same thing.
    unsafe {
        match offset {
            None => libc::syscall(libc::SYS_writev, fd, start, count) as ssize_t,
            // On 64-bit systems the low word is the whole offset.
            Some(offset) => {
                libc::syscall(libc::SYS_pwritev, fd, start, count, offset, 0) as ssize_t
            }
        }
    }
}

/// Where the last `written` bytes of `fd` went.
pub fn offset_written(fd: c_int, offset: Option<off_t>, written: ssize_t) -> u64 {
    // SAFETY: both calls only read the state of the descriptor.
    let (appends, cursor) = unsafe {
        let appends = libc::fcntl(fd, libc::F_GETFL) & libc::O_APPEND != 0;
        (
            appends,
            libc::syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) as off_t,
        )
    };
    let start = match offset {
        // Linux appends even when pwrite names an offset.
        Some(_) if appends => stat(At::Fd(fd)).map_or(0, |it| it.len as off_t) - written as off_t,
        Some(offset) => offset,
        None => cursor - written as off_t,
    };
    start as u64
}

/// Opens a file past every hook; for the log and the control file.
pub fn open(path: &Path, flags: c_int) -> Option<c_int> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: the path is NUL-terminated and outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags | libc::O_CLOEXEC,
            0o600,
        )
    };
    (fd >= 0).then_some(fd as c_int)
}

pub fn set_errno(errno: c_int) {
    // SAFETY: the pointer is this thread's errno.
    unsafe { *libc::__errno_location() = errno };
}

/// Ends the process with a reason: a recording that is not complete must not be believed.
pub fn die(reason: &str) -> ! {
    let text = format!("powercut: {reason}\n");
    // SAFETY: writes a live buffer to stderr, past the hook whose lock may be held.
    unsafe {
        libc::syscall(
            libc::SYS_write,
            2,
            text.as_ptr().cast::<c_void>(),
            text.len(),
        );
    }
    std::process::abort()
}

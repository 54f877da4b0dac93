// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors
//
// The system interfaces that Swift cannot call by itself: the CMSG_* and wait-status macros, GNU extensions that the
// Glibc module hides, posix_spawn file actions, and signal handlers, which must be async-signal-safe.
//
// Nothing here decides anything. Functions return -1 and set errno unless they say otherwise. No function takes
// ownership of a descriptor it is given; every descriptor that is returned is close-on-exec.
#ifndef CTABLEFLIP_H
#define CTABLEFLIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// MARK: Descriptors

/// A connected pair of AF_UNIX stream sockets. Neither raises SIGPIPE when written to after the other end has closed.
int tf_socketpair(int pair[2]);
/// pipe(2); `pipe[0]` is read from, `pipe[1]` written to. Both non-blocking.
int tf_pipe(int pipe[2]);
/// socket(2), close-on-exec and non-blocking from birth where the platform can.
int tf_socket(int domain, int type, int protocol);
/// fcntl(F_DUPFD_CLOEXEC): the lowest free number that is at least `minimum`.
int tf_duplicate(int descriptor, int minimum);
/// Sets or clears FD_CLOEXEC.
int tf_set_close_on_exec(int descriptor, bool on);
/// Sets O_NONBLOCK in the open file description, which every duplicate in every process shares.
int tf_set_nonblocking(int descriptor);
/// Whether listen(2) has been called on a socket: 1 or 0, and -1 for what is none.
int tf_is_listening(int descriptor);
/// How many bytes the peer's system has not confirmed yet; 0 where it cannot be asked.
int tf_unconfirmed(int socket);
/// Opens /dev/null on those of 0, 1 and 2 that are closed, so that no socket lands on a standard stream's number. Every
/// program that is linked with this library does so before main, as Go's runtime does.
int tf_fill_standard_streams(void);

/// Writes the inode of each descriptor (fstat(2)); UINT64_MAX for what is not open. For thousands a second thread takes
/// half.
void tf_inodes(const int *descriptors, size_t count, uint64_t *inodes);

/// The address family of sockets between virtual machines (vsock(7)), or one that socket(2) refuses.
int tf_vsock_family(void);
/// bind(2) to such an address; UINT32_MAX stands for every address of this machine. EAFNOSUPPORT where there is none.
int tf_bind_vsock(int socket, uint32_t context_id, uint32_t port);

/// A file in memory without a name in any directory, which tf_seal can make unchangeable: memfd_create(2). ENOSYS where
/// there is none.
int tf_sealable_memory(const char *name);
/// From now on neither the contents nor the size can change, for nobody (F_ADD_SEALS, fcntl(2)).
int tf_seal(int descriptor);
/// A new file that has been unlinked already.
int tf_unlinked_file(void);

// MARK: Local clients

/// accept(2): the connection is close-on-exec, non-blocking, and raises no SIGPIPE where that is its own affair.
int tf_accept(int listener);
/// Who is at the other end of a connected AF_UNIX socket, as the kernel saw it when they connected: effective user and
/// process. The process is 0 where the kernel does not say.
int tf_peer(int socket, uid_t *user, pid_t *process);

// MARK: SCM_RIGHTS

/// Linux accepts at most 253 descriptors in a message (SCM_MAX_FD in include/net/scm.h); more is EINVAL.
#define TF_DESCRIPTORS_PER_MESSAGE_MAX 253

/// sendmsg(2) without blocking or SIGPIPE; the descriptors travel with the first byte.
ssize_t tf_send(int socket, const void *bytes, size_t length, const int *descriptors, size_t descriptor_count);

struct tf_received {
    /// How many descriptors were stored.
    size_t descriptor_count;
    /// The kernel dropped descriptors: this process's table is full (MSG_CTRUNC).
    bool truncated;
    /// The sender's process id as the kernel saw it; 0 when it did not say.
    pid_t sender;
    /// Whose process that is; meaningless when `sender` is 0.
    uid_t user;
};

/// recvmsg(2) without blocking. `descriptors` has room for TF_DESCRIPTORS_PER_MESSAGE_MAX. With `atomic` the
/// descriptors are close-on-exec on arrival (MSG_CMSG_CLOEXEC); else they are made so one by one, as platforms without
/// that flag must.
ssize_t tf_receive(int socket, void *bytes, size_t length, int *descriptors, bool atomic, struct tf_received *received);
/// Asks the kernel to say who sends on this socket. To be called before the other end is given away.
int tf_ask_for_sender(int socket);

// MARK: Processes

struct tf_spawn {
    /// The file to execute. No PATH search is made.
    const char *path;
    char *const *arguments;
    char *const *environment;
    /// The directory to start in; NULL for the current one.
    const char *directory;
    /// Becomes descriptor `channel_number` of the new process, open across exec. Of the others only 0 to 2 stay.
    /// -1: none, and `channel_number` is 2.
    int channel;
    int channel_number;
    /// setsid(2): what goes to this process's terminal or group does not reach the new one.
    bool new_session;
};

/// posix_spawn(3): no page of memory is copied, whatever the size of this process. The new process starts with an
/// empty signal mask and every signal at its default. Returns 0 or an error number; errno is not set.
int tf_spawn_process(const struct tf_spawn *request, pid_t *process);

/// A descriptor that polls readable once the process has ended: pidfd_open(2). ENOSYS where there is none.
int tf_process_descriptor(pid_t process);

/// Whose child a process is.
enum tf_parent {
    TF_PARENT_SELF,
    /// This process's parent (CLONE_PARENT).
    TF_PARENT_OF_SELF,
    /// Whoever adopts orphans here, by way of a process that ends at once.
    TF_PARENT_ADOPTER,
};
struct tf_clone {
    pid_t process;
    /// Its pidfd, close-on-exec; -1 for a child of this process.
    int descriptor;
    /// No process could be made in this way, or none with a table of descriptors of its own; another one may do.
    bool refused;
};
/// As tf_spawn_process, by clone(2). Descriptors with higher numbers than the channel's are not even copied in order to be
/// closed: a process that holds thousands saves most of the time. Returns 0 or an error number; ENOSYS and `refused` where
/// there is no such call.
int tf_clone_process(const struct tf_spawn *request, enum tf_parent parent, struct tf_clone *result);

struct tf_exit {
    /// Whether the process has ended and was reaped by this call.
    bool reaped;
    /// The exit status, or -1 if a signal ended it.
    int status;
    /// The signal that ended it, or 0.
    int signal;
};
/// waitpid(2) for one process; does not block unless told to. ECHILD when somebody else has
/// reaped it.
int tf_reap(pid_t process, bool block, struct tf_exit *result);
/// A child that has ended, which stays as it is; 0 when all live. ECHILD when there is none.
pid_t tf_dead_child(void);
/// How a process ended that somebody else reaps, by its pidfd; `reaped` stays false for as long as that has not happened.
/// PIDFD_GET_INFO, Linux 6.15; ENOSYS, ENOTTY or EINVAL before that.
int tf_ending(int descriptor, struct tf_exit *result);
/// From now on the orphans among this process's descendants are its children (PR_SET_CHILD_SUBREAPER, prctl(2)).
/// ENOSYS where there is no such thing.
int tf_adopt_orphans(void);

// MARK: Threads and signals

/// Starts a detached thread with every signal blocked but those of faults, so that the application's threads go on
/// receiving them.
/// Returns an error number.
int tf_start_thread(void (*body)(void *), void *context, const char *name);

/// Beside the number of a signal, less one: who has sent it.
#define TF_SIGNAL_IS_MARKED 0x80
#define TF_SIGNAL_OF_PARENT 0x40
/// From now on `signal` does nothing but write one byte to `descriptor` (non-blocking): its number less one, and who sent it.
/// One descriptor serves all signals of the process; it must stay open. Unblocks the signal in the calling thread.
int tf_signal_to_descriptor(int signal, int descriptor);
/// From now on the signals that this process sends are marked. 0: none is.
void tf_mark_signals_of(pid_t process);
/// Gives the signal its default action again.
void tf_signal_default(int signal);

// MARK: Facts

/// A process-wide flag, set once: true for the first caller only.
bool tf_claim_process(void);
/// Gives the flag back.
void tf_release_process(void);
/// environ(7).
char **tf_environment(void);

#endif

// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors
#ifdef __APPLE__
#include "CTableflip.h"

#include "platform.h"

#include <crt_externs.h>
#include <errno.h>
#include <fcntl.h>
#include <libproc.h>
#include <pthread.h>
#include <sys/un.h>
#include <unistd.h>

static int keep_private(int descriptor) { return fcntl(descriptor, F_SETFD, FD_CLOEXEC); }

// From the start: where the peer has closed, the option can no longer be set (EINVAL; xnu bsd/kern/uipc_socket.c,
// sosetoptlock). An accepted connection has it from its listener (uipc_socket2.c, sonewconn).
static void forbid_sigpipe(int socket) {
    int on = 1;
    setsockopt(socket, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
}

// getsockopt(2) knows SO_ACCEPTCONN by name only (ENOPROTOOPT; xnu bsd/kern/uipc_socket.c, sogetoptlock). What it would
// say is among the options that a process may ask for of its own sockets (bsd/kern/socket_info.c, fill_socketinfo).
int tf_is_listening(int descriptor) {
    struct socket_fdinfo info;
    if (proc_pidfdinfo(getpid(), descriptor, PROC_PIDFDSOCKETINFO, &info, sizeof(info)) != (int)sizeof(info)) return -1;
    return (info.psi.soi_options & SO_ACCEPTCONN) != 0;
}

int tf_socketpair(int pair[2]) {
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) return -1;
    for (int index = 0; index < 2; index++) {
        keep_private(pair[index]);
        // MSG_DONTWAIT does not keep sendmsg(2) from waiting for room (uipc_socket.c, sosendcheck).
        tf_set_nonblocking(pair[index]);
        forbid_sigpipe(pair[index]);
    }
    return 0;
}

int tf_pipe(int ends[2]) {
    if (pipe(ends) < 0) return -1;
    for (int index = 0; index < 2; index++) {
        keep_private(ends[index]);
        tf_set_nonblocking(ends[index]);
    }
    return 0;
}

int tf_socket(int domain, int type, int protocol) {
    int descriptor = socket(domain, type, protocol);
    if (descriptor < 0) return -1;
    keep_private(descriptor);
    tf_set_nonblocking(descriptor);
    forbid_sigpipe(descriptor);
    return descriptor;
}

int tf_accept(int listener) {
    int descriptor = accept(listener, NULL, NULL);
    if (descriptor < 0) return -1;
    keep_private(descriptor);
    tf_set_nonblocking(descriptor);
    forbid_sigpipe(descriptor); // a listener of somebody else's may be without
    return descriptor;
}

// <sys/socket.h>, SO_NWRITE.
int tf_unconfirmed(int socket) {
    int count = 0;
    socklen_t length = sizeof count;
    return getsockopt(socket, SOL_SOCKET, SO_NWRITE, &count, &length) < 0 ? 0 : count;
}

int tf_peer(int socket, uid_t *user, pid_t *process) {
    // LOCAL_PEERCRED, by its portable name (getpeereid(3)).
    gid_t group;
    if (getpeereid(socket, user, &group) < 0) return -1;
    socklen_t length = sizeof(*process);
    if (getsockopt(socket, SOL_LOCAL, LOCAL_PEERPID, process, &length) < 0) *process = 0;
    return 0;
}

int tf_ask_for_sender(int socket) {
    (void)socket;
    return 0;
}

void tf_platform_sender(struct cmsghdr *header, pid_t *sender, uid_t *user) {
    (void)header, (void)sender, (void)user;
}

void tf_platform_ask_sender(int socket, pid_t *sender) {
    // The process that last used the other end (xnu bsd/kern/uipc_usrreq.c, LOCAL_PEERPID).
    socklen_t length = sizeof(*sender);
    if (getsockopt(socket, SOL_LOCAL, LOCAL_PEERPID, sender, &length) < 0) *sender = 0;
}

int tf_process_descriptor(pid_t process) {
    (void)process;
    errno = ENOSYS;
    return -1;
}

int tf_clone_process(const struct tf_spawn *request, enum tf_parent parent, struct tf_clone *result) {
    (void)request, (void)parent;
    *result = (struct tf_clone){.descriptor = -1, .refused = true};
    return ENOSYS;
}

int tf_ending(int descriptor, struct tf_exit *result) {
    (void)descriptor, (void)result;
    errno = ENOSYS;
    return -1;
}

int tf_adopt_orphans(void) {
    errno = ENOSYS;
    return -1;
}

int tf_platform_add_directory(posix_spawn_file_actions_t *actions, const char *directory) {
    return posix_spawn_file_actions_addchdir_np(actions, directory);
}

int tf_platform_close_others(posix_spawn_file_actions_t *actions, int keep, short *flags) {
    *flags |= POSIX_SPAWN_CLOEXEC_DEFAULT;
    for (int number = 0; number <= 2; number++) {
        // One that is closed here cannot be inherited, and posix_spawn would fail of it.
        if (fcntl(number, F_GETFD) < 0) continue;
        int error = posix_spawn_file_actions_addinherit_np(actions, number);
        if (error) return error;
    }
    // A dup2 action keeps its target, but of a number onto itself it does nothing, and exec closes what is close-on-exec,
    // whatever the flag above says (xnu bsd/kern/kern_descrip.c, dup2 and fdt_exec). This action clears that.
    return keep > 2 ? posix_spawn_file_actions_addinherit_np(actions, keep) : 0;
}

void tf_platform_exclude_signals(sigset_t *set) {
    sigdelset(set, SIGKILL);
    sigdelset(set, SIGSTOP);
}

void tf_platform_name_thread(const char *name) { pthread_setname_np(name); }
int tf_sealable_memory(const char *name) {
    (void)name;
    errno = ENOSYS;
    return -1;
}

int tf_seal(int descriptor) {
    (void)descriptor;
    errno = ENOSYS;
    return -1;
}

int tf_vsock_family(void) { return -1; }

int tf_bind_vsock(int socket, uint32_t context_id, uint32_t port) {
    (void)socket, (void)context_id, (void)port;
    errno = EAFNOSUPPORT;
    return -1;
}

// A bundle cannot be linked with `environ` (environ(7)).
char **tf_environment(void) { return *_NSGetEnviron(); }

#endif // __APPLE__

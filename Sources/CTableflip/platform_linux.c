// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors
#ifdef __linux__
#define _GNU_SOURCE 1
#include "CTableflip.h"

#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int tf_socketpair(int pair[2]) { return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair); }
int tf_pipe(int pipe[2]) { return pipe2(pipe, O_CLOEXEC | O_NONBLOCK); }
int tf_socket(int domain, int type, int protocol) {
    return socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
}

int tf_accept(int listener) { return accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK); }

int tf_is_listening(int descriptor) {
    int value = 0;
    socklen_t size = sizeof(value);
    if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) < 0) return -1;
    return value != 0;
}

// tcp(7), SIOCOUTQ, which is the same number (linux/sockios.h): not every development kit has that header.
int tf_unconfirmed(int socket) {
    int count = 0;
    return ioctl(socket, TIOCOUTQ, &count) < 0 ? 0 : count;
}

int tf_peer(int socket, uid_t *user, pid_t *process) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) return -1;
    *user = credentials.uid;
    *process = credentials.pid;
    return 0;
}

int tf_ask_for_sender(int socket) {
    int on = 1;
    return setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
}

void tf_platform_sender(struct cmsghdr *header, pid_t *sender, uid_t *user) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS) return;
    struct ucred credentials;
    memcpy(&credentials, CMSG_DATA(header), sizeof(credentials));
    *sender = credentials.pid;
    *user = credentials.uid;
}

void tf_platform_ask_sender(int socket, pid_t *sender) {
    // SO_PEERCRED of a socketpair names whoever made the pair, so there is nothing to ask.
    (void)socket;
    (void)sender;
}

// pidfd_open(2) has a number in every architecture's table since 5.3; glibc 2.36 has the wrapper, older ones do not.
int tf_process_descriptor(pid_t process) { return (int)syscall(SYS_pidfd_open, process, 0); }

int tf_adopt_orphans(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }

int tf_platform_add_directory(posix_spawn_file_actions_t *actions, const char *directory) {
    return posix_spawn_file_actions_addchdir_np(actions, directory);
}

int tf_platform_close_others(posix_spawn_file_actions_t *actions, int keep, short *flags) {
    (void)flags;
    for (int number = 3; number < keep; number++) {
        int error = posix_spawn_file_actions_addclose(actions, number);
        if (error) return error;
    }
#ifdef __GLIBC__
    // close_range(2) in the child: one call, whatever the number of open descriptors.
    return posix_spawn_file_actions_addclosefrom_np(actions, keep + 1);
#else
    // musl has no such action, so tf_clone_process is the only way there. Compiled with it, and run by nobody yet.
    return ENOSYS;
#endif
}

void tf_platform_exclude_signals(sigset_t *set) { (void)set; }

void tf_platform_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

int tf_sealable_memory(const char *name) { return memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING); }

int tf_seal(int descriptor) {
    return fcntl(descriptor, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
}

int tf_vsock_family(void) { return AF_VSOCK; }

int tf_bind_vsock(int socket, uint32_t context_id, uint32_t port) {
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = context_id, .svm_port = port};
    return bind(socket, (const struct sockaddr *)&address, sizeof address);
}

char **tf_environment(void) { return environ; }

#endif // __linux__

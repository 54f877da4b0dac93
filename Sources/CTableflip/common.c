// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors
#define _GNU_SOURCE 1
#include "CTableflip.h"

#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// MARK: Descriptors

int tf_duplicate(int descriptor, int minimum) { return fcntl(descriptor, F_DUPFD_CLOEXEC, minimum); }

int tf_set_close_on_exec(int descriptor, bool on) {
    int flags = fcntl(descriptor, F_GETFD);
    if (flags < 0) return -1;
    return fcntl(descriptor, F_SETFD, on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC);
}

int tf_set_nonblocking(int descriptor) {
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0) return -1;
    return flags & O_NONBLOCK ? 0 : fcntl(descriptor, F_SETFL, flags | O_NONBLOCK);
}

int tf_fill_standard_streams(void) {
    for (int number = 0; number <= 2; number++) {
        if (fcntl(number, F_GETFD) >= 0) continue;
        // The lowest free number is this one: those below are open by now.
        if (open("/dev/null", number == 0 ? O_RDONLY : O_WRONLY) < 0) return -1;
    }
    return 0;
}

// Before main: Swift's runtime and Dispatch open descriptors of their own before the first line of a program, and would
// take the numbers that are free.
__attribute__((constructor)) static void fill_standard_streams_at_start(void) { (void)tf_fill_standard_streams(); }

struct inode_range {
    const int *descriptors;
    size_t count;
    uint64_t *inodes;
};

static void *write_inodes(void *argument) {
    const struct inode_range *range = argument;
    for (size_t index = 0; index < range->count; index++) {
        struct stat status;
        range->inodes[index] = fstat(range->descriptors[index], &status) == 0 ? (uint64_t)status.st_ino : UINT64_MAX;
    }
    return NULL;
}

// A call takes a quarter of a microsecond, a thread as long as two hundred calls. An upgrade waits for this.
#define WORTH_A_THREAD 2000

void tf_inodes(const int *descriptors, size_t count, uint64_t *inodes) {
    size_t half = count < WORTH_A_THREAD ? 0 : count / 2;
    struct inode_range here = {descriptors + half, count - half, inodes + half}, there = {descriptors, half, inodes};
    pthread_t thread;
    bool shared = half > 0 && pthread_create(&thread, NULL, write_inodes, &there) == 0;
    write_inodes(&here);
    if (shared) pthread_join(thread, NULL);
    else write_inodes(&there);
}

// MARK: SCM_RIGHTS

ssize_t tf_send(int socket, const void *bytes, size_t length, const int *descriptors, size_t descriptor_count) {
    if (descriptor_count > TF_DESCRIPTORS_PER_MESSAGE_MAX) {
        errno = EINVAL;
        return -1;
    }
    // The union aligns the buffer for the header it starts with (cmsg(3)).
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * TF_DESCRIPTORS_PER_MESSAGE_MAX)];
    } control;
    struct iovec vector = {.iov_base = (void *)bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (descriptor_count > 0) {
        size_t size = sizeof(int) * descriptor_count;
        memset(&control, 0, CMSG_SPACE(size));
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(header), descriptors, size);
    }
    return sendmsg(socket, &message, MSG_DONTWAIT | TF_MSG_NOSIGNAL);
}

ssize_t tf_receive(int socket, void *bytes, size_t length, int *descriptors, bool atomic, struct tf_received *received) {
    // Room for one full SCM_RIGHTS and for credentials beside it.
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * TF_DESCRIPTORS_PER_MESSAGE_MAX) + TF_SENDER_SPACE];
    } control;
    struct iovec vector = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    *received = (struct tf_received){0};
    ssize_t count = recvmsg(socket, &message, MSG_DONTWAIT | (atomic ? TF_MSG_CMSG_CLOEXEC : 0));
    if (count < 0) return -1;
    received->truncated = (message.msg_flags & MSG_CTRUNC) != 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            size_t arrived = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            int *from = (int *)CMSG_DATA(header);
            for (size_t index = 0; index < arrived; index++) {
                if (!atomic || TF_MSG_CMSG_CLOEXEC == 0) tf_set_close_on_exec(from[index], true);
                if (received->descriptor_count < TF_DESCRIPTORS_PER_MESSAGE_MAX)
                    descriptors[received->descriptor_count++] = from[index];
                else
                    close(from[index]);
            }
        } else {
            tf_platform_sender(header, &received->sender, &received->user);
        }
    }
    if (received->sender == 0) tf_platform_ask_sender(socket, &received->sender);
    return count;
}

// MARK: Processes

int tf_spawn_process(const struct tf_spawn *request, pid_t *process) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t set;
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    // 1. Directory first: it is the one step that commonly fails, and a failure must name nothing else.
    if (request->directory && (error = tf_platform_add_directory(&actions, request->directory))) goto out;
    // 2. The channel gets its number. dup2 of a number onto itself clears close-on-exec, in POSIX.1-2024 and glibc; where it
    // does not, step 3 does.
    if (request->channel >= 0 &&
        (error = posix_spawn_file_actions_adddup2(&actions, request->channel, request->channel_number)))
        goto out;
    // 3. Everything else goes, whatever other threads have opened without close-on-exec meanwhile.
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (request->new_session) flags |= POSIX_SPAWN_SETSID;
    if ((error = tf_platform_close_others(&actions, request->channel_number, &flags))) goto out;
    // 4. Threads of Swift's pool and of NIO block most signals, and a child inherits the mask of the thread that spawns.
    sigemptyset(&set);
    if ((error = posix_spawnattr_setsigmask(&attributes, &set))) goto out;
    sigfillset(&set);
    tf_platform_exclude_signals(&set);
    if ((error = posix_spawnattr_setsigdefault(&attributes, &set))) goto out;
    if ((error = posix_spawnattr_setflags(&attributes, flags))) goto out;
    error = posix_spawn(process, request->path, &actions, &attributes, request->arguments, request->environment);
out:
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error;
}

int tf_reap(pid_t process, bool block, struct tf_exit *result) {
    int status = 0;
    *result = (struct tf_exit){.reaped = false, .status = -1, .signal = 0};
    pid_t reaped = waitpid(process, &status, block ? 0 : WNOHANG);
    if (reaped < 0) return -1;
    if (reaped > 0) tf_fill_exit(status, result);
    return 0;
}

void tf_fill_exit(int status, struct tf_exit *result) {
    result->reaped = true;
    if (WIFEXITED(status)) result->status = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) result->signal = WTERMSIG(status);
}

pid_t tf_dead_child(void) {
    siginfo_t info = {.si_signo = 0};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0) return -1;
    return info.si_signo == SIGCHLD ? info.si_pid : 0;
}

// MARK: Threads and signals

struct thread_start {
    void (*body)(void *);
    void *context;
    char name[16];
};

static void *run_thread(void *argument) {
    struct thread_start start = *(struct thread_start *)argument;
    free(argument);
    tf_platform_name_thread(start.name);
    start.body(start.context);
    return NULL;
}

int tf_start_thread(void (*body)(void *), void *context, const char *name) {
    struct thread_start *start = calloc(1, sizeof(*start));
    if (!start) return ENOMEM;
    start->body = body;
    start->context = context;
    strncpy(start->name, name, sizeof(start->name) - 1);
    // The new thread inherits the mask: blocked before it exists, so that there is no instant at which it takes one.
    sigset_t all, before;
    sigfillset(&all);
    // But for those of a fault of its own: for a blocked one the kernel calls no handler, which could tell where it was.
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS};
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run_thread, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        free(start);
        return error;
    }
    pthread_detach(thread);
    return 0;
}

static atomic_int signal_descriptor = -1;
static atomic_int marked_process = 0;

static void write_signal(int signal, siginfo_t *info, void *context) {
    (void)context;
    int saved = errno;
    unsigned char byte = (unsigned char)(signal - 1); // 1 to 64
    if (info && info->si_pid > 0) {
        if (info->si_pid == atomic_load(&marked_process)) byte |= TF_SIGNAL_IS_MARKED;
        if (info->si_pid == getppid()) byte |= TF_SIGNAL_OF_PARENT;
    }
    // A full pipe means that many signals are waiting already: dropping one more loses nothing.
    ssize_t ignored = write(atomic_load(&signal_descriptor), &byte, 1);
    (void)ignored;
    errno = saved;
}

int tf_signal_to_descriptor(int signal, int descriptor) {
    atomic_store(&signal_descriptor, descriptor);
    struct sigaction action = {.sa_sigaction = write_signal, .sa_flags = SA_RESTART | SA_SIGINFO};
    sigfillset(&action.sa_mask);
    if (sigaction(signal, &action, NULL) < 0) return -1;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    return pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void tf_mark_signals_of(pid_t process) { atomic_store(&marked_process, process); }

void tf_signal_default(int number) { signal(number, SIG_DFL); }

int tf_unlinked_file(void) {
    char path[] = "/tmp/tableflip-XXXXXX";
    int descriptor = mkstemp(path);
    if (descriptor < 0) return -1;
    unlink(path);
    tf_set_close_on_exec(descriptor, true);
    return descriptor;
}

// MARK: Facts

static atomic_bool process_claimed;
bool tf_claim_process(void) { return !atomic_exchange(&process_claimed, true); }
void tf_release_process(void) { atomic_store(&process_claimed, false); }

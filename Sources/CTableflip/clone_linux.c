// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors
//
// Starting a process by clone(2), for two things that posix_spawn(3) has no option for: it can be another process's child,
// and it copies only those descriptors that it keeps. No page is copied: the new process borrows this one's memory until
// it executes its program (CLONE_VM, CLONE_VFORK), as in glibc's posix_spawn. So until then it does nothing but system
// calls, made directly: the functions of the C library may keep books in memory that is not its own, and do under a
// sanitizer.
#ifdef __linux__
#define _GNU_SOURCE 1
#include "CTableflip.h"

#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// linux/close_range.h, which comes with 5.9. The same number on every architecture.
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif

#ifdef __GLIBC__
// The name that no sanitizer has put another function behind.
int __clone(int (*body)(void *), void *stack, int flags, void *argument, ...);
#define START __clone
#else
#define START clone
#endif

#if __has_attribute(disable_sanitizer_instrumentation)
#define BARE __attribute__((disable_sanitizer_instrumentation))
#else
#define BARE
#endif

struct start {
    const struct tf_spawn *request;
    /// Where the stack of the process begins that a process in between starts; stacks grow down.
    char *second_stack;
    struct tf_clone *result;
    /// Of the step that failed.
    int error;
};

BARE static void fail(struct start *start) {
    start->error = errno;
    syscall(SYS_exit_group, 127);
}

BARE static void close_all(unsigned first, unsigned last) {
    if (first > last || syscall(SYS_close_range, first, last, 0) == 0) return;
    // Before Linux 5.9, one by one.
    struct rlimit limit = {0, 0};
    syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
    for (unsigned number = first; number <= last && number < limit.rlim_cur; number++) syscall(SYS_close, number);
}

BARE static int become_program(void *argument) {
    struct start *start = argument;
    const struct tf_spawn *request = start->request;
    // 1. A table of descriptors of its own, without a copy of what would be closed next: of thousands that takes a
    //    millisecond. Until here it is the table of the process that starts this one. Before Linux 5.9 all are copied.
    int kept = request->channel > request->channel_number ? request->channel : request->channel_number;
    if (syscall(SYS_close_range, kept + 1, ~0U, CLOSE_RANGE_UNSHARE) < 0 && syscall(SYS_unshare, CLONE_FILES) < 0) {
        // Docker's filter of system calls refuses unshare(2), and an older one also what it does not know.
        start->result->refused = true;
        fail(start);
    }
    // 2. All signals are blocked, so no handler runs here. execve(2) resets handlers and leaves what is ignored; zeros
    //    are the default action in the kernel's own structure, whose size and order depend on the architecture.
    static const char zeros[256];
    for (int number = 1; number <= 64; number++) syscall(SYS_rt_sigaction, number, zeros, NULL, 8);
    if (request->new_session && syscall(SYS_setsid) < 0) fail(start);
    // 3. Directory first: it is the one step that commonly fails.
    if (request->directory && syscall(SYS_chdir, request->directory) < 0) fail(start);
    // 4. The channel gets its number, and everything else goes.
    if (request->channel >= 0 && request->channel != request->channel_number &&
        syscall(SYS_dup3, request->channel, request->channel_number, 0) < 0)
        fail(start);
    if (request->channel == request->channel_number && syscall(SYS_fcntl, request->channel, F_SETFD, 0) < 0)
        fail(start);
    if (request->channel_number > 3) close_all(3, (unsigned)request->channel_number - 1);
    close_all((unsigned)request->channel_number + 1, ~0U);
    // 5. What another thread's mask was is not its business.
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, zeros, NULL, 8);
    syscall(SYS_execve, request->path, request->arguments, request->environment);
    fail(start);
    return 127;
}

#define SHARED (CLONE_VM | CLONE_VFORK | CLONE_FILES)

// It shares the table of descriptors, so the pidfd that it opens is ours.
BARE static int start_and_leave(void *argument) {
    struct start *start = argument;
    pid_t process = START(become_program, start->second_stack, SHARED | CLONE_PIDFD | SIGCHLD, start,
        &start->result->descriptor);
    if (process < 0) {
        start->error = errno;
        start->result->refused = true;
    } else {
        start->result->process = process;
    }
    syscall(SYS_exit_group, 0);
    return 0;
}

#define STACK_SIZE (64 * 1024)

int tf_clone_process(const struct tf_spawn *request, enum tf_parent parent, struct tf_clone *result) {
    *result = (struct tf_clone){.process = 0, .descriptor = -1, .refused = false};
    char *stacks = mmap(NULL, 2 * STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stacks == MAP_FAILED) return errno;
    struct start start = {.request = request, .second_stack = stacks + 2 * STACK_SIZE, .result = result};
    // Also the two signals that the C library keeps to itself, which sigfillset leaves out.
    uint64_t all = ~(uint64_t)0, before = 0;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, &before, 8);
    char *stack = stacks + STACK_SIZE;
    pid_t process = -1;
    switch (parent) {
    case TF_PARENT_SELF: process = START(become_program, stack, SHARED | SIGCHLD, &start); break;
    case TF_PARENT_OF_SELF:
        process = START(become_program, stack, SHARED | CLONE_PARENT | CLONE_PIDFD | SIGCHLD, &start, &result->descriptor);
        break;
    // No signal when the one in between ends, so nobody else's waitpid(2) sees it.
    case TF_PARENT_ADOPTER: process = START(start_and_leave, stack, SHARED, &start); break;
    }
    if (process < 0) {
        start.error = errno;
        result->refused = true;
    } else if (parent == TF_PARENT_ADOPTER || (parent == TF_PARENT_SELF && start.error)) {
        // It has let go of this memory before a child of its has a new parent; it has ended only after that.
        while (waitpid(process, NULL, __WALL) < 0 && errno == EINTR) {}
    } else {
        result->process = process;
    }
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, 8);
    munmap(stacks, 2 * STACK_SIZE);
    if (start.error && result->descriptor >= 0) {
        close(result->descriptor);
        result->descriptor = -1;
    }
    return start.error;
}

// linux/pidfd.h of Linux 6.15, which older headers lack.
struct process_info {
    uint64_t mask;
    uint64_t cgroup;
    uint32_t ids[11];
    int32_t exit_code;
};
#define TF_PIDFD_INFO_EXIT ((uint64_t)1 << 3)
#define TF_PIDFD_GET_INFO _IOWR(0xFF, 11, struct process_info)

int tf_ending(int descriptor, struct tf_exit *result) {
    *result = (struct tf_exit){.reaped = false, .status = -1, .signal = 0};
    struct process_info info = {.mask = TF_PIDFD_INFO_EXIT};
    if (ioctl(descriptor, TF_PIDFD_GET_INFO, &info) < 0) return errno == ESRCH ? 0 : -1;
    if (info.mask & TF_PIDFD_INFO_EXIT) tf_fill_exit(info.exit_code, result);
    return 0;
}

#endif // __linux__

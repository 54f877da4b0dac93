// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors
//
// Starting a process that is not this one's child. No page is copied: the new process borrows this one's memory until
// it executes its program (CLONE_VM, CLONE_VFORK), as in glibc's posix_spawn(3), which has no such option. So until then
// it does nothing but system calls, made directly: the functions of the C library may keep books in memory that is not
// its own, and do under a sanitizer.
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

#ifndef SYS_close_range
#define SYS_close_range 436
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
    struct tf_managed *result;
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
    // 1. All signals are blocked, so no handler runs here. execve(2) resets handlers and leaves what is ignored; zeros
    //    are the default action in the kernel's own structure, whose size and order depend on the architecture.
    static const char zeros[256];
    for (int number = 1; number <= 64; number++) syscall(SYS_rt_sigaction, number, zeros, NULL, 8);
    if (request->new_session && syscall(SYS_setsid) < 0) fail(start);
    // 2. Directory first: it is the one step that commonly fails.
    if (request->directory && syscall(SYS_chdir, request->directory) < 0) fail(start);
    // 3. The channel gets its number, and everything else goes.
    if (request->channel >= 0 && request->channel != request->channel_number &&
        syscall(SYS_dup3, request->channel, request->channel_number, 0) < 0)
        fail(start);
    if (request->channel == request->channel_number && syscall(SYS_fcntl, request->channel, F_SETFD, 0) < 0)
        fail(start);
    if (request->channel_number > 3) close_all(3, (unsigned)request->channel_number - 1);
    close_all((unsigned)request->channel_number + 1, ~0U);
    // 4. What another thread's mask was is not its business.
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, zeros, NULL, 8);
    syscall(SYS_execve, request->path, request->arguments, request->environment);
    fail(start);
    return 127;
}

BARE static int start_and_leave(void *argument) {
    struct start *start = argument;
    pid_t process = START(become_program, start->second_stack, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, start,
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

int tf_spawn_for_manager(const struct tf_spawn *request, bool twice, struct tf_managed *result) {
    *result = (struct tf_managed){.process = 0, .descriptor = -1, .refused = false};
    char *stacks = mmap(NULL, 2 * STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stacks == MAP_FAILED) return errno;
    struct start start = {.request = request, .second_stack = stacks + 2 * STACK_SIZE, .result = result};
    // Also the two signals that the C library keeps to itself, which sigfillset leaves out.
    uint64_t all = ~(uint64_t)0, before = 0;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, &before, 8);
    pid_t process;
    if (twice) {
        // CLONE_FILES: the pidfd that it opens is ours. No signal when it ends, so nobody else's waitpid(2) sees it.
        process = START(start_and_leave, stacks + STACK_SIZE, CLONE_VM | CLONE_VFORK | CLONE_FILES, &start);
    } else {
        process = START(become_program, stacks + STACK_SIZE, CLONE_VM | CLONE_VFORK | CLONE_PARENT | CLONE_PIDFD | SIGCHLD,
            &start, &result->descriptor);
    }
    if (process < 0) {
        start.error = errno;
        result->refused = true;
    } else if (twice) {
        // It has let go of this memory before its child has a new parent; it has ended only after that.
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

// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors
//
// What ../swift-server does, with the system calls that any such hand-over takes and nothing else: posix_spawn, exec,
// descriptors in batches of 253 over a socket pair, each batch acknowledged, one byte back, and the PID file by rename.
// No names, no checks, no deadline, no error that is not fatal: the floor below which no library gets.
#define _GNU_SOURCE 1
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 253
// Batches on their way.
#define WINDOW 16
#define CHANNEL 3

extern char **environ;
static int *descriptors;
static int count;

static void fail(const char *call) {
    perror(call);
    exit(1);
}

static union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int) * BATCH)];
} control;

static void send_batch(int channel, int first, int size) {
    char byte = 'D';
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control};
    message.msg_controllen = CMSG_SPACE(sizeof(int) * size);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * size);
    memcpy(CMSG_DATA(header), descriptors + first, sizeof(int) * size);
    if (sendmsg(channel, &message, MSG_NOSIGNAL) != 1) fail("sendmsg");
}

static int receive_batch(int channel, int first) {
    char byte;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) != 1) fail("recvmsg");
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    int size = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(descriptors + first, CMSG_DATA(header), sizeof(int) * size);
    return size;
}

static void hand_over(char **arguments) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) fail("socketpair");
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], CHANNEL);
    posix_spawn_file_actions_addclosefrom_np(&actions, CHANNEL + 1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    pid_t process;
    setenv("FLOOR_CHANNEL", "3", 1);
    if (posix_spawn(&process, arguments[0], &actions, &attributes, arguments, environ)) fail("posix_spawn");
    close(pair[1]);
    char byte;
    int sent = 0;
    for (int batches = 0, acknowledged = 0; sent < count;) {
        for (; sent < count && batches - acknowledged < WINDOW; batches++) {
            int size = count - sent < BATCH ? count - sent : BATCH;
            send_batch(pair[0], sent, size);
            sent += size;
        }
        if (read(pair[0], &byte, 1) != 1) fail("read");
        acknowledged++;
    }
    // Acknowledgements that are still to come, then the byte that says that the successor serves.
    do {
        if (read(pair[0], &byte, 1) != 1) fail("read");
    } while (byte != 'R');
}

static void take_over(void) {
    for (int received = 0; received < count;) {
        received += receive_batch(CHANNEL, received);
        if (write(CHANNEL, "A", 1) != 1) fail("write");
    }
    if (write(CHANNEL, "R", 1) != 1) fail("write");
}

static void open_all(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    descriptors[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(descriptors[0], (struct sockaddr *)&address, sizeof(address)) < 0) fail("bind");
    if (listen(descriptors[0], 128) < 0) fail("listen");
    for (int index = 1; index < count; index++) {
        descriptors[index] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (descriptors[index] < 0) fail("open");
    }
}

static void write_pid_file(const char *path) {
    char temporary[4096], line[32];
    snprintf(temporary, sizeof(temporary), "%s.%d", path, getpid());
    int length = snprintf(line, sizeof(line), "%d\n", getpid());
    int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0 || write(file, line, length) != length) fail("open");
    close(file);
    if (rename(temporary, path) < 0) fail("rename");
}

int main(int argument_count, char **arguments) {
    const char *pid_file = NULL;
    size_t ballast = 0;
    for (int index = 1; index < argument_count; index++) {
        if (!strcmp(arguments[index], "--exit")) return 0;
        if (!strcmp(arguments[index], "--pid-file")) pid_file = arguments[++index];
        else if (!strcmp(arguments[index], "--carry")) count = atoi(arguments[++index]);
        else if (!strcmp(arguments[index], "--ballast")) ballast = strtoull(arguments[++index], NULL, 10);
    }
    if (!pid_file) return 2;
    count++; // the listener
    descriptors = calloc(count, sizeof(int));
    sigset_t hangup;
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    sigprocmask(SIG_BLOCK, &hangup, NULL);

    int has_predecessor = getenv("FLOOR_CHANNEL") != NULL;
    if (has_predecessor) take_over();
    else open_all();
    write_pid_file(pid_file);
    if (has_predecessor) {
        char byte;
        // The end of the channel: the predecessor has left.
        if (read(CHANNEL, &byte, 1) == 0) close(CHANNEL);
    }
    if (ballast > 0) {
        void *memory = mmap(NULL, ballast, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) fail("mmap");
        memset(memory, 1, ballast);
    }
    printf("%d\n", getpid());
    fflush(stdout);
    int signal;
    sigwait(&hangup, &signal);
    hand_over(arguments);
    return 0;
}

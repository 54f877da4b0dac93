// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors
//
// What platform_linux.c and platform_darwin.c each define. common.c has no other difference between systems.
#ifndef CTABLEFLIP_PLATFORM_H
#define CTABLEFLIP_PLATFORM_H

#include "CTableflip.h"

#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>

#ifdef __linux__
#define TF_MSG_NOSIGNAL MSG_NOSIGNAL
#define TF_MSG_CMSG_CLOEXEC MSG_CMSG_CLOEXEC
#define TF_SENDER_SPACE CMSG_SPACE(3 * sizeof(int)) // struct ucred: pid, uid, gid
#else
#define TF_MSG_NOSIGNAL 0 // SO_NOSIGPIPE is set on the socket instead
#define TF_MSG_CMSG_CLOEXEC 0
#define TF_SENDER_SPACE 0
#endif

int tf_platform_add_directory(posix_spawn_file_actions_t *actions, const char *directory);
/// Keeps 0 to 2 and `keep` in the new process and closes every other descriptor.
int tf_platform_close_others(posix_spawn_file_actions_t *actions, int keep, short *flags);
/// Removes the signals that posix_spawn refuses to set to their default.
void tf_platform_exclude_signals(sigset_t *set);
/// Reads the sender from a control message, if that is what it holds.
void tf_platform_sender(struct cmsghdr *header, pid_t *sender, uid_t *user);
/// Reads the sender from the socket, where the platform has no control message for it.
void tf_platform_ask_sender(int socket, pid_t *sender);
void tf_platform_name_thread(const char *name);
/// What a wait status says.
void tf_fill_exit(int status, struct tf_exit *result);

#endif

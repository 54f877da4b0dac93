// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What is passed on: what people and programs send on purpose, and not what the kernel says of this process itself.
enum ForwardedSignals {
    static let all: [CInt] = [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGALRM, SIGWINCH] + Self.realtime

    #if os(Linux)
    /// SIGRTMIN to SIGRTMAX: without the ones that the C library keeps to itself, which each library has its own number of
    /// (signal(7), "Real-time signals").
    private static let realtime = Array(__libc_current_sigrtmin()...__libc_current_sigrtmax())
    #else
    private static let realtime: [CInt] = []
    #endif
}

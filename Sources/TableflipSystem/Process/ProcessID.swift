// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Process ids, and signals to them.
package enum ProcessID {
    package static var current: CInt { getpid() }
    package static var parent: CInt { getppid() }

    /// kill(2). A process that is gone is no error: that is what was wanted of it.
    package static func signal(_ process: CInt, _ signal: CInt) {
        precondition(process > 1, "a signal to process \(process) would hit more than one process, or init")
        _ = kill(process, signal)
    }

    package static let terminate = SIGTERM
    package static let killSignal = SIGKILL

    /// Whether a program may have a handler for it (sigaction(2)).
    package static func canHandle(signal: CInt) -> Bool {
        (1..<65).contains(signal) && signal != SIGKILL && signal != SIGSTOP
    }

    /// `SIGKILL`, or `signal 42`.
    package static func name(ofSignal signal: CInt) -> String {
        switch signal {
        case SIGHUP: "SIGHUP"
        case SIGINT: "SIGINT"
        case SIGQUIT: "SIGQUIT"
        case SIGILL: "SIGILL"
        case SIGTRAP: "SIGTRAP"
        case SIGABRT: "SIGABRT"
        case SIGBUS: "SIGBUS"
        case SIGFPE: "SIGFPE"
        case SIGKILL: "SIGKILL"
        case SIGSEGV: "SIGSEGV"
        case SIGPIPE: "SIGPIPE"
        case SIGTERM: "SIGTERM"
        default: "signal \(signal)"
        }
    }

    /// Whether there is a process of this number (kill(2) with signal 0), whosever it is.
    package static func exists(_ process: CInt) -> Bool { kill(process, 0) == 0 || errno == EPERM }

    /// Ends this process without running anything of it again (_exit(2)).
    package static func exitNow(status: CInt) -> Never { _exit(status) }
}

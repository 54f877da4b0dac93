// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipSystem

#if canImport(Glibc)
@preconcurrency import Glibc
#elseif canImport(Musl)
@preconcurrency import Musl
#else
import Darwin
#endif

/// What this process runs in: variables, terminal, clock.
enum Surroundings {
    static func variable(_ name: String) -> String? {
        // SAFETY: nothing here changes the environment; the string is copied.
        guard let value = getenv(name), value.pointee != 0 else { return nil }
        return String(cString: value)
    }

    /// A path as the service would not find it by itself: it may have started elsewhere.
    static func absolute(_ path: String) throws(CtlError) -> String {
        guard !path.hasPrefix("/") else { return path }
        guard let directory = getcwd(nil, 0) else {
            throw CtlError(
                .refused, code: "directoryMissing", "the current directory is gone, and \(path) is relative to it",
                cure: "Give the whole path, or go to a directory that exists.")
        }
        defer { free(directory) }
        // SAFETY: getcwd(NULL) returns a string of its own, freed above.
        return path.absolutePath(from: String(cString: directory))
    }

    /// A program as execvp(3) would find it: what has no slash is looked for in the service's own PATH.
    static func program(_ name: String) throws(CtlError) -> String {
        name.contains("/") ? try self.absolute(name) : name
    }

    static var outputIsTerminal: Bool { isatty(1) == 1 && self.variable("TERM") != "dumb" }

    /// https://no-color.org
    static var usesColour: Bool { self.outputIsTerminal && self.variable("NO_COLOR") == nil }

    /// Of the terminal; 80 where it does not say.
    static var columns: Int {
        var size = winsize()
        let result = ioctl(1, UInt(TIOCGWINSZ), &size)
        return result == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
    }

    /// Of the standard output: the last error of write(2), 0 before there is one.
    private static let outputError = Atomic<CInt>(0)

    /// To be called where the output is all that a command does. What an order did to the service matters more.
    static func requireOutput() throws(CtlError) {
        let number = self.outputError.load(ordering: .relaxed)
        guard number != 0 else { return }
        throw CtlError(
            .outputFailed, code: "outputFailed", "the output cannot be written: \(SystemCallError("write", number))")
    }

    /// What an order comes to is told by the exit status also where nobody reads the output any more.
    static func outliveReader() { signal(SIGPIPE, SIG_IGN) }

    /// How long a reader may take that has made the standard output one that does not wait (O_NONBLOCK).
    private static let patience = Duration.seconds(5)

    /// After an error nothing more is written: what came behind a gap would be taken for the whole.
    static func write(_ text: String, to descriptor: CInt = 1) {
        guard descriptor != 1 || self.outputError.load(ordering: .relaxed) == 0 else { return }
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            // SAFETY: the buffer lives through the call, which reads no more than its length.
            let count = bytes.withUnsafeBytes { systemWrite(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR || errno == EAGAIN && self.waitForReader(descriptor) { continue }
            guard count > 0 else {
                if descriptor == 1 { self.outputError.store(errno, ordering: .relaxed) }
                return
            }
            bytes = bytes.dropFirst(count)
        }
    }

    private static func waitForReader(_ descriptor: CInt) -> Bool {
        var poll = Poll<Int>()
        poll.add(0, descriptor, Poll<Int>.writable)
        let isReady = !poll.wait(self.patience).isEmpty
        errno = EAGAIN
        return isReady
    }

    /// `2026-11-26 10:54:17`, in local time.
    static func date(_ milliseconds: Int64) -> String {
        var seconds = time_t(milliseconds / 1000)
        var parts = tm()
        localtime_r(&seconds, &parts)
        func two(_ number: CInt) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let day = "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
        return "\(day) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
    }

    static func explain(_ error: SystemCallError, _ path: String) -> CtlError {
        switch error.number {
        case ENOENT:
            CtlError(
                .nobodyAnswers, code: "noSocket", "there is no control socket at \(path)",
                cure: "The service does not run, or it is stopping; or it has another path, or none "
                    + "(Configuration.controlSocket): name the right one by --control-socket."
            )
        case ENOTSOCK,
            ECONNREFUSED where FileAccess.isOtherThanSocket(path):
            CtlError(
                .nobodyAnswers, code: "noSocket", "\(path) is no socket", cure: "Name the service's control socket.")
        case EAGAIN,
            // So says Darwin of a full queue.
            ECONNREFUSED where (try? UnixAddress(path)?.isStale) == false:
            CtlError(
                .nobodyAnswers, code: "noAnswer", "nobody accepts at \(path): its queue is full",
                cure: "The process in charge may be stopped; look at its log."
            )
        case ECONNREFUSED:
            CtlError(
                .nobodyAnswers, code: "noListener", "nobody listens at \(path): connection refused",
                cure: "The service has ended without removing the path. Start it again."
            )
        case EACCES, EPERM:
            CtlError(
                .notPermitted, code: "notPermitted",
                "user \(LocalConnection.ownUser) may not connect to \(path): \(error)",
                cure: "Ask as the service's user or as root, or give the socket a mode that lets this user connect "
                    + "(ControlSocket.mode)."
            )
        case ENAMETOOLONG:
            CtlError(
                .nobodyAnswers, code: "noSocket",
                "\(path) cannot be a socket: a path has room for \(Platform.unixPathLimit) bytes",
                cure: "Name it by a shorter path, such as a relative one."
            )
        default: CtlError(.nobodyAnswers, code: "noSocket", "\(path) cannot be connected to: \(error)")
        }
    }
}

/// write(2), out of the reach of methods of that name.
private func systemWrite(_ descriptor: CInt, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
    write(descriptor, bytes, count)
}

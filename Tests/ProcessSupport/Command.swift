// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

/// How long a test waits for what must happen. Long, because the machine may be busy; nothing ever waits for all of it
/// unless something is wrong.
package let patience = Duration.seconds(60)

/// A program to start. Foundation's `Process` can pass on neither an argv[0] of its own nor bytes that are not UTF-8.
package struct Command {
    package var path: String
    /// From argv[0] on.
    package var arguments: [[UInt8]]
    package var environment: [[UInt8]]
    /// Numbers in the new process, and which descriptor of this one each is.
    package var descriptors: [CInt: CInt]
    /// Where its standard error goes.
    package var errors: String

    package init(
        path: String, arguments: [[UInt8]], environment: [[UInt8]], descriptors: [CInt: CInt] = [:], errors: String
    ) {
        self.path = path
        self.arguments = arguments
        self.environment = environment
        self.descriptors = descriptors
        self.errors = errors
    }

    /// Starts it as the leader of a process group, in which all its successors stay.
    package func start(output: CInt) throws -> CInt {
        #if canImport(Darwin)
        var actions: posix_spawn_file_actions_t?
        var attributes: posix_spawnattr_t?
        #else
        var actions = posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        #endif
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_addopen(&actions, 2, self.errors, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        for (number, descriptor) in self.descriptors {
            posix_spawn_file_actions_adddup2(&actions, descriptor, number)
        }
        var flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
        #if canImport(Darwin)
        flags |= POSIX_SPAWN_CLOEXEC_DEFAULT
        #else
        // Whatever else is open here, now or in a moment, whatever its number (glibc 2.34).
        let first = 1 + max(2, self.descriptors.keys.max() ?? 2)
        for number in 3..<max(3, first) where self.descriptors[number] == nil {
            posix_spawn_file_actions_addclose(&actions, number)
        }
        typealias CloseFrom = @convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, CInt) -> CInt
        guard let symbol = dlsym(nil, "posix_spawn_file_actions_addclosefrom_np") else { throw POSIXError(.ENOSYS) }
        // SAFETY: spawn.h declares it with these types; the Glibc module leaves GNU's additions out.
        guard unsafeBitCast(symbol, to: CloseFrom.self)(&actions, first) == 0 else { throw POSIXError(.ENOMEM) }
        #endif

        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, Int16(flags))
        posix_spawnattr_setpgroup(&attributes, 0)
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigaddset(&signals, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &signals)

        let arguments = Self.list(self.arguments)
        let environment = Self.list(self.environment)
        defer { for string in arguments + environment { free(string) } }
        var process: CInt = 0
        let error = posix_spawn(&process, self.path, &actions, &attributes, arguments, environment)
        guard error == 0 else { throw POSIXError(POSIXErrorCode(rawValue: error) ?? .EINVAL) }
        return process
    }

    /// The same, alone, with a pipe for its standard output.
    /// - Returns: its id, and the end to read from, which is the caller's to close.
    package func startWithOutput() throws -> (process: CInt, output: CInt) {
        try Self.alone {
            var ends: [CInt] = [-1, -1]
            guard pipe(&ends) == 0 else { throw POSIXError(.EMFILE) }
            defer { close(ends[1]) }
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            return (try self.start(output: ends[1]), ends[0])
        }
    }

    private static func list(_ strings: [[UInt8]]) -> [UnsafeMutablePointer<CChar>?] {
        strings.map { bytes in
            (bytes + [0]).map { CChar(bitPattern: $0) }.withUnsafeBufferPointer { $0.baseAddress.flatMap(strdup) }
        } + [nil]
    }

    private static let lock = NSLock()

    /// One at a time: starting a process, and writing a program. What one thread has open for a moment would otherwise
    /// reach the process that another one starts (a pipe that never ends, a program that is "busy").
    package static func alone<Result>(_ body: () throws -> Result) rethrows -> Result {
        try self.lock.withLock(body)
    }

    /// Writes a program, and returns when nobody has it open for writing any more: until then it is "busy" (execve(2),
    /// ETXTBSY). Not every process of these tests is started by a `Command`, and one that is being started has a copy of
    /// whatever is open here for a moment.
    package static func writeProgram(at path: String, _ body: () throws -> Void) throws {
        try self.alone(body)
        #if os(Linux)
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return }  // what was written is no file on purpose
        defer { close(file) }
        // A read lease is granted when nobody has the file open for writing (fcntl(2), F_SETLEASE).
        let (F_SETLEASE, deadline) = (
            CInt(1024),  // F_LINUX_SPECIFIC_BASE
            ContinuousClock.now + patience
        )
        while fcntl(file, F_SETLEASE, CInt(F_RDLCK)) != 0, errno == EAGAIN, ContinuousClock.now < deadline {
            usleep(1000)
        }
        _ = fcntl(file, F_SETLEASE, CInt(F_UNLCK))
        #endif
    }
}

/// What this process has to be for its tests: the one that orphans fall to, on Linux, and deaf to SIGPIPE.
package enum Harness {
    package static let isReady: Bool = {
        signal(SIGPIPE, SIG_IGN)
        #if os(Linux)
        // prctl(2) takes a variable number of arguments, which Swift does not import.
        // SAFETY: on every Linux architecture five whole arguments are passed as to any other function.
        typealias Prctl = @convention(c) (CInt, UInt, UInt, UInt, UInt) -> CInt
        guard let symbol = dlsym(nil, "prctl") else { return false }
        let PR_SET_CHILD_SUBREAPER: CInt = 36
        return unsafeBitCast(symbol, to: Prctl.self)(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        #else
        return true
        #endif
    }()
}

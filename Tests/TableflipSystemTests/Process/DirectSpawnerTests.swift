// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import TableflipCore
import TableflipSystem
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite(.timeLimit(.minutes(5))) struct DirectSpawnerTests {
    private let directory: TemporaryDirectory

    init() throws { self.directory = try TemporaryDirectory() }

    // MARK: What the new process has

    #if os(Linux)  // it is asked of /proc
    @Test(arguments: Kernel.allCases)
    func `only the standard streams and the channel are open, whatever is open here`(_ kernel: Kernel) async throws {
        // As another part of the program may have opened them: without close-on-exec.
        let numbers = (0..<50).map { _ in fcntl(2, F_DUPFD, 3) } + (0..<5).map { fcntl(2, F_DUPFD, 500 + $0 * 37) }
        defer { for number in numbers { close(number) } }
        var shell = Shell("exec ls /proc/self/fd >&3")
        shell.capabilities = kernel.capabilities
        let (output, ending) = try await shell.run()
        #expect(ending == .exited(0))
        // Here they still are: what the new process shared with this one it has not closed.
        for number in numbers { #expect(fcntl(number, F_GETFD) == 0) }
        let open = String(decoding: output, as: UTF8.self).split(separator: "\n").compactMap { Int($0) }.sorted()
        // The next free number is that of the directory which `ls` reads.
        #expect(open == [0, 1, 2, 3, 4])
    }

    #endif

    /// dup2(2) of a number onto itself does nothing, so it would stay close-on-exec.
    @Test(arguments: Kernel.allCases)
    func `the channel may already have the number that it is to get`(_ kernel: Kernel) async throws {
        let path = try self.directory.write("", to: "output")
        let number = try check("open") { open(path, O_RDWR | O_CLOEXEC) }
        let output = OwnedDescriptor(takingOwnershipOf: number)
        #if os(Linux)
        let script = "exec ls /proc/self/fd >/dev/fd/\(number)"
        #else
        let script = "printf open >/dev/fd/\(number)"
        #endif
        let words = ["/bin/sh", "-c", script].map { Array($0.utf8) }
        var process: CInt = 0
        let error = CStrings(words).withList { arguments in
            CStrings([]).withList { environment in
                "/bin/sh".withCString { path in
                    var spawn = tf_spawn(
                        path: path, arguments: arguments, environment: environment, directory: nil, channel: number,
                        channel_number: number, new_session: false
                    )
                    guard kernel.capabilities.sharesTables else { return tf_spawn_process(&spawn, &process) }
                    var started = tf_clone()
                    defer { process = started.process }
                    return tf_clone_process(&spawn, TF_PARENT_SELF, &started)
                }
            }
        }
        try #require(error == 0)
        let child = try SpawnedProcess(child: process, watch: ChildWatch(), capabilities: .current)
        #expect(try await child.ending == .exited(0))
        #expect(isCloseOnExec(output.borrowed))
        #if os(Linux)
        // Everything below it is closed as well.
        let seen = (text(of: path) ?? "").split(separator: "\n").compactMap { CInt($0) }.sorted()
        #expect(seen == [0, 1, 2, number == 3 ? 4 : 3, number].sorted())
        #else
        #expect(text(of: path) == "open")
        #endif
    }

    @Test(arguments: [0, 1, 2], Kernel.allCases)
    func `a standard stream that is closed here keeps nothing from being started`(
        _ number: CInt, _ kernel: Kernel
    ) async {
        await #expect(processExitsWith: .success) { [number, kernel] in
            close(number)
            var shell = Shell("exit 7")
            shell.capabilities = kernel.capabilities
            // Not in the place of the one that is closed.
            var ends: [CInt] = [-1, -1]
            try check("pipe") { tf_pipe(&ends) }
            let channel = OwnedDescriptor(
                takingOwnershipOf: try check("fcntl") { fcntl(ends[0], F_DUPFD_CLOEXEC, 10) })
            for end in ends { close(end) }
            #expect(try await shell.start(channel: channel.borrowed).ending == .exited(7))
        }
    }

    #if os(Linux)  // it is asked of /proc
    @Test(arguments: Kernel.allCases)
    func `signals that are blocked or ignored here are not in the new process`(_ kernel: Kernel) async {
        await #expect(processExitsWith: .success) { [kernel] in
            for number in [SIGPIPE, SIGHUP, SIGTERM, SIGUSR1, SIGCHLD] { signal(number, SIG_IGN) }
            signal(SIGCHLD, SIG_DFL)
            var all = sigset_t()
            sigfillset(&all)
            pthread_sigmask(SIG_SETMASK, &all, nil)
            let directory = try TemporaryDirectory()
            let path = try directory.write("", to: "output")
            let output = OwnedDescriptor(takingOwnershipOf: open(path, O_RDWR | O_CLOEXEC))
            // `exec`: what is seen is what the process was started with.
            var shell = Shell("exec grep -E '^Sig(Blk|Ign)' /proc/self/status >&3")
            shell.capabilities = kernel.capabilities
            let process = try shell.start(channel: output.borrowed)
            var empty = sigset_t()
            sigemptyset(&empty)
            pthread_sigmask(SIG_SETMASK, &empty, nil)
            #expect(try await process.ending == .exited(0))
            let seen = (text(of: path) ?? "").split(whereSeparator: \.isWhitespace)
            try #require(seen.count == 4, "\(seen)")
            #expect(seen[0] == "SigBlk:" && UInt64(seen[1], radix: 16) == 0, "\(seen)")
            // glibc ignores two signals of its own, 32 and 33, in what posix_spawn starts.
            let ignored = UInt64(seen[3], radix: 16).map { $0 & ~0x1_8000_0000 }
            #expect(seen[2] == "SigIgn:" && ignored == 0, "\(seen)")
        }
    }

    #endif

    @Test func `arguments arrive exactly, also empty ones and such that are no UTF-8`() async throws {
        var shell = Shell("printf '%s\\0' \"$0\" \"$@\" >&3")
        shell.arguments = [[], Array("two words".utf8), [0xff, 0xfe, 0x0a], [], Array("é".utf8), []]
        let (output, ending) = try await shell.run()
        #expect(ending == .exited(0))
        let words = [Array("sh".utf8)] + shell.arguments
        #expect(output == Array(words.map { $0 + [0] }.joined()))
    }

    #if os(Linux)  // it is asked of /proc
    @Test func `the environment arrives exactly`() async throws {
        let path = try self.directory.write("", to: "output")
        let output = OwnedDescriptor(takingOwnershipOf: try check("open") { open(path, O_RDWR | O_CLOEXEC) })
        let environment: [[UInt8]] = [
            Array("A=1".utf8), Array("EMPTY=".utf8), [0x42, 0x3d, 0xff, 0x80], Array("no equals sign".utf8),
            Array("A=2".utf8),
        ]
        // No shell, which would add to it.
        let request = SpawnRequest(
            executable: try ExecutablePath(finding: "/bin/cp", from: "/"),
            arguments: CStrings(["cp", "/proc/self/environ", "/proc/self/fd/3"].map { Array($0.utf8) }),
            environment: CStrings(environment), directory: "/"
        )
        let process = try DirectSpawner(capabilities: .current).spawn(request, channel: output.borrowed)
        #expect(try await process.ending == .exited(0))
        #expect(contents(of: path) == Array(environment.map { $0 + [0] }.joined()))
    }
    #endif

    @Test func `the process starts in the directory that is given`() async throws {
        var shell = Shell("pwd -P >&3")
        shell.directory = try self.directory.makeDirectory("here")
        let (output, ending) = try await shell.run()
        #expect(ending == .exited(0))
        #expect(String(decoding: output, as: UTF8.self) == shell.directory + "\n")
    }

    // MARK: What can go wrong

    @Test func `a directory that cannot be started in is told as what it is`() throws {
        let file = try self.directory.write("", to: "file")
        let cases = [
            (self.directory("gone"), "is gone"), (file, "is no directory"),
            (file + "/below", "cannot be used: stat: Not a directory"),
            (self.directory("\u{FFFD}"), "its name is not UTF-8"),
        ]
        for (path, words) in cases {
            var shell = Shell("exit 0")
            shell.directory = path
            let error = try #require(throws: UpgradeError.self) { _ = try shell.start(channel: 2) }
            #expect(error.code == .directoryMissing)
            #expect(error.message.contains(path) && error.message.contains(words), "\(error)")
            #expect(!error.cure.isEmpty)
        }
    }

    @Test func `a directory that may not be entered is told as such`() async {
        await #expect(processExitsWith: .success) {
            let directory = try TemporaryDirectory()
            chmod(directory.path, 0o755)
            let path = try directory.makeDirectory("closed")
            chmod(path, 0o600)
            // root may enter it all the same.
            if getuid() == 0 { try #require(setuid(65534) == 0) }
            var shell = Shell("exit 0")
            shell.directory = path
            let error = try #require(throws: UpgradeError.self) { _ = try shell.start(channel: 2) }
            #expect(error.code == .directoryMissing)
            #expect(error.message.contains("may not be entered: stat: Permission denied"), "\(error)")
        }
    }

    @Test(arguments: Kernel.allCases)
    func `arguments that are too long are told as such`(_ kernel: Kernel) throws {
        let long = [UInt8](repeating: UInt8(ascii: "x"), count: 16 << 20)
        let error = try #require(throws: UpgradeError.self) { _ = try self.spawn("/bin/sh", kernel, arguments: [long]) }
        #expect(error.code == .spawnFailed)
        #expect(error.message.contains("arguments and environment are too long"), "\(error)")
        #expect(error.cure.contains("Shorten"))
    }

    #if os(Linux)
    @Test func `where no more files can be opened, that is told also of a child of the service manager`() async {
        await #expect(processExitsWith: .success) {
            let request = SpawnRequest(
                executable: try ExecutablePath(finding: "/bin/sh", from: "/"), arguments: CStrings([Array("sh".utf8)]),
                environment: CStrings([]), directory: "/"
            )
            var limit = rlimit(rlim_cur: 256, rlim_max: 256)
            try #require(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
            var filling: [CInt] = []
            while let next = Optional(dup(2)), next >= 0 { filling.append(next) }
            #expect(errno == EMFILE)
            let error = #expect(throws: UpgradeError.self) {
                _ = try ManagedSpawner(capabilities: .current, isAdopted: false).spawn(request, channel: 2)
            }
            for number in filling { close(number) }
            #expect(error?.code == .spawnFailed)
            #expect(error?.cure.contains("limit on open files") == true, "\(String(describing: error))")
        }
    }
    #endif

    struct Unstartable: Sendable, CustomTestStringConvertible {
        var name: String
        var contents: String
        var code: UpgradeError.Code
        var words: String
        var testDescription: String { self.name }
    }

    @Test(arguments: [
        Unstartable(
            name: "a script whose interpreter is missing", contents: "#!/no/such/interpreter\n",
            code: .executableMissing,
            words: "No such file or directory"
        ),
        Unstartable(
            name: "text that is no program", contents: "just text\n", code: .executableFormat,
            words: "Exec format error"
        ),
        Unstartable(name: "an empty file", contents: "", code: .executableFormat, words: "Exec format error"),
        Unstartable(
            name: "a program that is cut off", contents: "\u{7f}ELF\u{2}\u{1}\u{1}", code: .executableFormat,
            words: "Exec format error"
        ),
        Unstartable(
            name: "a script whose interpreter may not be executed", contents: "#!/etc/passwd\n",
            code: .executableNotPermitted, words: "Permission denied"
        ),
    ])
    func `a file that cannot be started is told as what it is`(_ file: Unstartable) throws {
        let path = try self.directory.write(file.contents, to: "program", mode: 0o755)
        for kernel in Kernel.allCases {
            var error = try #require(throws: UpgradeError.self) { _ = try self.spawn(path, kernel) }
            // What a test beside this one starts at that moment has a copy of what was being written (execve(2), ETXTBSY).
            let deadline = ContinuousClock.now + patience
            while error.message.contains("open for writing"), ContinuousClock.now < deadline {
                error = try #require(throws: UpgradeError.self) { _ = try self.spawn(path, kernel) }
            }
            #expect(error.code == file.code)
            #expect(error.message.contains(path))
            #expect(error.message.contains(file.words))
            #expect(!error.cure.isEmpty)
        }
    }

    @Test func `a file that may not be executed any more is told as such`() throws {
        let path = try self.directory.write("#!/bin/sh\n", to: "program", mode: 0o755)
        let executable = try ExecutablePath(finding: path, from: "/")
        chmod(path, 0o644)
        let error = try #require(throws: UpgradeError.self) { _ = try self.spawn(executable) }
        #expect(error.code == .executableNotPermitted)
        #expect(error.message.contains(path))
        #expect(error.message.contains("Permission denied"))
    }

    @Test func `a file that is gone meanwhile is told as such`() throws {
        let path = try self.directory.write("#!/bin/sh\n", to: "program", mode: 0o755)
        let executable = try ExecutablePath(finding: path, from: "/")
        unlink(path)
        let error = try #require(throws: UpgradeError.self) { _ = try self.spawn(executable) }
        #expect(error.code == .executableMissing)
        #expect(error.message.contains(path))
    }

    #if os(Linux)
    @Test func `a program that is being written is told as such`() throws {
        let path = self.directory("program")
        let source = try #require(contents(of: "/bin/true"))
        let writing = OwnedDescriptor(
            takingOwnershipOf: try check("open") { open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o755) }
        )
        try #require(write(writing.borrowed, source, source.count) == source.count)
        let error = try #require(throws: UpgradeError.self) { _ = try self.spawn(path) }
        #expect(error.code == .executableNotPermitted)
        #expect(error.message.contains("open for writing"))
        _ = consume writing
    }
    #endif

    #if os(Linux)
    /// Of before Linux 5.9, and of containers: Docker refuses unshare(2), older runtimes also what they do not know.
    @Test(arguments: [ENOSYS, EPERM])
    func `where no process may have a table of descriptors of its own, it is started in another way`(
        _ error: CInt
    ) async {
        await #expect(processExitsWith: .success) { [error] in
            let directory = try TemporaryDirectory()
            let path = try directory.write("", to: "output")
            let output = OwnedDescriptor(takingOwnershipOf: open(path, O_RDWR | O_CLOEXEC))
            let request = SpawnRequest(
                executable: try ExecutablePath(finding: "/bin/sh", from: "/"),
                arguments: CStrings(["sh", "-c", "echo started >&3"].map { Array($0.utf8) }), environment: CStrings([]),
                directory: "/"
            )
            // On one thread: the filter is that of a thread.
            func start() throws -> SpawnedProcess {
                try SystemCallFilter.refuse([(.closeRange, error), (.unshare, EPERM)])
                return try DirectSpawner(capabilities: .current).spawn(request, channel: output.borrowed)
            }
            #expect(try await start().ending == .exited(0))
            #expect(text(of: path) == "started\n")
        }
    }
    #endif

    @Test func `a process that was not started leaves nothing behind`() async {
        await #expect(processExitsWith: .success) {
            let directory = try TemporaryDirectory()
            let path = try directory.write("no program", to: "program", mode: 0o755)
            let census = Census()
            for kernel in Kernel.allCases {
                let request = SpawnRequest(
                    executable: try ExecutablePath(finding: path, from: "/"), arguments: CStrings([[]]),
                    environment: CStrings([]), directory: "/"
                )
                #expect(throws: UpgradeError.self) {
                    _ = try DirectSpawner(capabilities: kernel.capabilities).spawn(request, channel: 2)
                }
            }
            #expect(census.isClean)
            // No child, not even an ended one.
            #expect(waitpid(-1, nil, WNOHANG) == -1)
        }
    }

    private func spawn(
        _ path: String, _ kernel: Kernel = .current, arguments: [[UInt8]] = []
    ) throws -> SpawnedProcess {
        try self.spawn(ExecutablePath(finding: path, from: "/"), kernel, arguments: arguments)
    }

    private func spawn(
        _ executable: ExecutablePath, _ kernel: Kernel = .current, arguments: [[UInt8]] = []
    ) throws -> SpawnedProcess {
        let request = SpawnRequest(
            executable: executable, arguments: CStrings([Array(executable.path.utf8)] + arguments),
            environment: CStrings([]), directory: "/"
        )
        return try DirectSpawner(capabilities: kernel.capabilities).spawn(request, channel: 2)
    }
}

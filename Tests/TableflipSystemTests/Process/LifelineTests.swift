// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

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

@Suite(.timeLimit(.minutes(5))) struct LifelineTests {
    @Test(arguments: Kernel.allCases)
    func `while its process lives nothing is to be read from it`(_ kernel: Kernel) throws {
        let lifeline = try Lifeline(capabilities: kernel.capabilities)
        #expect(!readable(lifeline.descriptor, within: .zero))
        #expect(isCloseOnExec(lifeline.descriptor))
        let duplicate = try OwnedDescriptor(duplicating: lifeline.descriptor)
        #expect(!readable(duplicate.borrowed, within: .zero))
    }

    /// The process that dies is an exit test; it sends its lifeline here, and dies when it is told to.
    @Test(arguments: Kernel.allCases)
    func `another process learns of the death, and not before`(_ kernel: Kernel) async throws {
        let directory = try TemporaryDirectory()
        let path = directory("x.sock")
        let listener = try BoundSocket.bind(.unix(path: path))
        let number = listener.borrowed
        async let watched: Bool = onItsOwnThread {
            try #require(readable(number))
            let socket = OwnedDescriptor(takingOwnershipOf: try check("accept") { accept(number, nil, nil) })
            let raw = socket.borrowed
            let channel = ChannelSocket(takingOwnershipOf: socket, capabilities: kernel.capabilities)
            let hello = try heardHello(on: channel)
            let livedUntilNow = !readable(hello.lifeline.borrowed, within: .zero)
            // It must not end before it is told to: had it, this could not be said to it.
            try #require(send(raw, "!", 1, CInt(MSG_NOSIGNAL)) == 1)
            return livedUntilNow && readable(hello.lifeline.borrowed)
        }
        await #expect(processExitsWith: .signal(SIGKILL)) { [kernel, path = path as String] in
            let lifeline = try Lifeline(capabilities: kernel.capabilities)
            let socket = try connected(to: path)
            let raw = socket.borrowed
            let channel = ChannelSocket(takingOwnershipOf: socket, capabilities: kernel.capabilities)
            channel.send(.hello(.init(generation: 1, process: getpid())), descriptors: [lifeline.descriptor])
            if readable(raw) { kill(getpid(), SIGKILL) }
        }
        #expect(try await watched)
        _ = consume listener
    }

    @Test(arguments: Kernel.allCases)
    func `a program that its process has started does not keep it alive`(_ kernel: Kernel) async throws {
        let directory = try TemporaryDirectory()
        let path = directory("x.sock")
        let listener = try BoundSocket.bind(.unix(path: path))
        let number = listener.borrowed
        async let watched: Bool = onItsOwnThread {
            try #require(readable(number))
            let socket = OwnedDescriptor(takingOwnershipOf: try check("accept") { accept(number, nil, nil) })
            let channel = ChannelSocket(takingOwnershipOf: socket, capabilities: kernel.capabilities)
            let hello = try heardHello(on: channel)
            // An exit test is over when nobody has what it opened any more, and no process of it is left: its orphan may
            // fall to this process (other tests make it the one that orphans fall to), and nobody else would reap it.
            defer {
                ProcessID.signal(hello.process, ProcessID.killSignal)
                #expect(eventually { waitpid(hello.process, nil, WNOHANG) > 0 || kill(hello.process, 0) != 0 })
            }
            return readable(hello.lifeline.borrowed)
        }
        await #expect(processExitsWith: .signal(SIGKILL)) { [kernel, path = path as String] in
            let lifeline = try Lifeline(capabilities: kernel.capabilities)
            let channel = ChannelSocket(takingOwnershipOf: try connected(to: path), capabilities: kernel.capabilities)
            // As any library starts a program: everything that is not close-on-exec stays open in it.
            var process: pid_t = 0
            let words = CStrings(["sleep", "600"].map { Array($0.utf8) })
            let error = words.withList { posix_spawn(&process, "/bin/sleep", nil, nil, $0, nil) }
            #expect(error == 0)
            channel.send(.hello(.init(generation: 1, process: process)), descriptors: [lifeline.descriptor])
            kill(getpid(), SIGKILL)
        }
        #expect(try await watched)
        _ = consume listener
    }
}

/// What another process says first.
private struct Introduction: ~Copyable {
    let process: CInt
    let lifeline: OwnedDescriptor
}

private func heardHello(on channel: ChannelSocket) throws -> Introduction {
    var process: CInt = 0
    var lifeline: OwnedDescriptor?
    while lifeline == nil {
        guard readable(channel.descriptor) else { throw SystemCallError("poll", ETIMEDOUT) }
        var isOver = false
        channel.receive { arrival in
            switch consume arrival {
            case .message(.hello(let hello), var descriptors):
                process = hello.process
                lifeline = descriptors.takeFirst()
            default: isOver = true
            }
        }
        if isOver { break }
    }
    guard let lifeline = lifeline.take() else { throw SystemCallError("recvmsg", EPIPE) }
    return Introduction(process: process, lifeline: lifeline)
}

private func connected(to path: String) throws -> OwnedDescriptor {
    let number = try check("socket") { socket(AF_UNIX, Platform.stream, 0) }
    let client = OwnedDescriptor(takingOwnershipOf: number)
    var address = sockaddr_un()
    Platform.fill(&address)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    // SAFETY: sockaddr_un starts as every sockaddr does; the size says where it ends.
    try check("connect") {
        withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(number, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
    return client
}

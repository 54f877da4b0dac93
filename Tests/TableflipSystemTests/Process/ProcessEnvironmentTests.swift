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

/// The environment and the current directory belong to a whole process, and may not change while another thread looks
/// at them: each of these tests has a process of its own.
@Suite(.timeLimit(.minutes(5))) struct ProcessEnvironmentTests {
    // MARK: The channel

    @Test func `a process without the variable is the first one`() async {
        await #expect(processExitsWith: .success) {
            unsetenv(ProcessEnvironment.channelVariable)
            #expect(takenChannel() == "none")
        }
    }

    @Test func `a true variable leads to the channel`() async {
        await #expect(processExitsWith: .success) {
            let pair = try ChannelSocket.pair()
            _ = fcntl(pair.theirs, F_SETFD, 0)
            let inode = try DescriptorFacts(of: pair.theirs).inode
            setenv(ProcessEnvironment.channelVariable, "\(pair.theirs):\(inode)", 1)
            #expect(takenChannel() == "open \(pair.theirs)")
            #expect(getenv(ProcessEnvironment.channelVariable) == nil)
            // It was closed by whoever looked at it; the number may by now be another file of some other thread.
            #expect(DescriptorFacts.inode(of: pair.theirs) != inode)
        }
    }

    @Test func `the channel is close-on-exec from then on`() async {
        await #expect(processExitsWith: .success) {
            let pair = try ChannelSocket.pair()
            _ = fcntl(pair.theirs, F_SETFD, 0)
            let inode = try DescriptorFacts(of: pair.theirs).inode
            setenv(ProcessEnvironment.channelVariable, "\(pair.theirs):\(inode)", 1)
            guard case .open(let channel) = ProcessEnvironment.takeChannel() else {
                Issue.record("no channel")
                return
            }
            #expect(isCloseOnExec(channel.borrowed))
        }
    }

    @Test(
        arguments: [
            "", ":", "3", "3:", ":4", "x:4", "3:x", "3:4:5", "2:4", "0:4", "-3:4", "3:-4", "3: 4", "3:4 ",
            "99999999999:4",
            "3:99999999999999999999", "2147483647:4",
        ]
    )
    func `a variable that says nothing true is stale, and gone`(_ value: String) async {
        await #expect(processExitsWith: .success) { [value] in
            setenv(ProcessEnvironment.channelVariable, value, 1)
            let taken = takenChannel()
            #expect(taken.hasPrefix("stale"), "\(taken)")
            #expect(taken.contains(ProcessEnvironment.channelVariable), "\(taken)")
            #expect(getenv(ProcessEnvironment.channelVariable) == nil)
        }
    }

    @Test func `a descriptor that is closed, no socket, or another socket is stale and stays as it is`() async {
        await #expect(processExitsWith: .success) {
            let pair = try ChannelSocket.pair()
            let inode = try DescriptorFacts(of: pair.theirs).inode
            let file = open("/dev/null", O_RDONLY)
            for (value, words) in [
                ("\(pair.theirs):\(inode + 1)", "another socket by now"), ("\(pair.ours):\(inode)", "another socket"),
                ("\(file):\(inode)", "no socket"), ("\(CInt.max - 1):\(inode)", "Bad file descriptor"),
            ] {
                setenv(ProcessEnvironment.channelVariable, value, 1)
                let taken = takenChannel()
                #expect(taken.hasPrefix("stale") && taken.contains(words), "\(value): \(taken)")
            }
            for number in [pair.ours, pair.theirs, file] { #expect(fcntl(number, F_GETFD) >= 0) }
        }
    }

    @Test func `the variable for a successor says where its channel will be and which socket it is`() throws {
        let pair = try ChannelSocket.pair()
        let ours = OwnedDescriptor(takingOwnershipOf: pair.ours)
        let theirs = OwnedDescriptor(takingOwnershipOf: pair.theirs)
        let inode = try DescriptorFacts(of: theirs.borrowed).inode
        let variable = try ProcessEnvironment.variable(channel: theirs.borrowed)
        #expect(String(decoding: variable, as: UTF8.self) == "TABLEFLIP_CHANNEL=3:\(inode)")
        #expect(throws: SystemCallError.self) { try ProcessEnvironment.variable(channel: CInt.max - 1) }
        _ = consume ours
    }

    @Test func `what a successor inherits is everything but the variable`() async {
        await #expect(processExitsWith: .success) {
            setenv(ProcessEnvironment.channelVariable, "3:4", 1)
            setenv("TABLEFLIP_CHANNEL_OF_MINE", "kept", 1)
            setenv("EMPTY", "", 1)
            let all = ProcessEnvironment.inheritable().texts
            #expect(!all.contains { $0.hasPrefix("TABLEFLIP_CHANNEL=") })
            #expect(all.contains("TABLEFLIP_CHANNEL_OF_MINE=kept"))
            #expect(all.contains("EMPTY="))
            #expect(ProcessEnvironment.value(of: "EMPTY") == "")
            #expect(ProcessEnvironment.value(of: "NO_SUCH_VARIABLE") == nil)
        }
    }

    // MARK: The directory

    @Test func `the directory keeps the links that PWD goes by`() async {
        await #expect(processExitsWith: .success) {
            let directory = try TemporaryDirectory()
            let real = try directory.makeDirectory("v1")
            symlink(real, directory("current"))
            chdir(directory("current"))
            setenv("PWD", directory("current"), 1)
            #expect(try ProcessEnvironment.directory() == directory("current"))
        }
    }

    @Test func `a PWD that is not where we are counts for nothing`() async {
        await #expect(processExitsWith: .success) {
            let directory = try TemporaryDirectory()
            _ = try directory.makeDirectory("v1")
            chdir(directory.path)
            for lie in ["/", directory("v1"), directory("missing"), ".", "", "tmp"] {
                setenv("PWD", lie, 1)
                #expect(try ProcessEnvironment.directory() == directory.path, "\(lie)")
            }
            unsetenv("PWD")
            #expect(try ProcessEnvironment.directory() == directory.path)
        }
    }

    @Test func `a directory that was removed is none`() async {
        await #expect(processExitsWith: .success) {
            let directory = try TemporaryDirectory()
            chdir(try directory.makeDirectory("v1"))
            rmdir(directory("v1"))
            setenv("PWD", directory("v1"), 1)
            let error = #expect(throws: UpgradeError.self) { try ProcessEnvironment.directory() }
            #expect(error?.code == .directoryMissing)
            #expect(error?.message.contains("is gone") == true, "\(String(describing: error))")
        }
    }
}

/// In words, because a channel cannot be copied.
private func takenChannel() -> String {
    switch ProcessEnvironment.takeChannel() {
    case .none: "none"
    case .open(let channel): "open \(channel.borrowed)"
    case .stale(let why): "stale: \(why)"
    }
}

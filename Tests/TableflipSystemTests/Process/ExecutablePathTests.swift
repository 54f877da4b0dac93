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

@Suite(.timeLimit(.minutes(5))) struct ExecutablePathTests {
    private let directory: TemporaryDirectory

    init() throws {
        self.directory = try TemporaryDirectory()
        try self.directory.write("#!/bin/sh\n", to: "program", mode: 0o755)
    }

    @Test func `an absolute path is taken as it is`() throws {
        #expect(
            try ExecutablePath(finding: self.directory("program"), from: "/nowhere").path == self.directory("program"))
    }

    @Test func `a relative path counts from the directory that is given`() throws {
        let path = try ExecutablePath(finding: "./program", from: self.directory.path).path
        #expect(path == self.directory("./program"))
        _ = try self.directory.makeDirectory("bin")
        #expect(
            try ExecutablePath(finding: "../program", from: self.directory("bin")).path
                == self.directory("bin/../program")
        )
    }

    @Test func `a link is kept, and where it leads is told`() throws {
        symlink(self.directory("program"), self.directory("current"))
        let path = try ExecutablePath(finding: self.directory("current"), from: "/")
        #expect(path.path == self.directory("current"))
        #expect(path.resolved == self.directory("program"))
        unlink(self.directory("current"))
        #expect(path.resolved == self.directory("current"))
    }

    @Test func `a program that is missing is told as such`() throws {
        let error = try self.refusal(of: self.directory("missing"))
        #expect(error.code == .executableMissing)
        #expect(error.message == "\(self.directory("missing")) cannot be started: stat: No such file or directory")
    }

    /// It is there: to put it there once more would help nobody.
    @Test func `a program behind a directory that may not be entered is told as such`() async {
        await #expect(processExitsWith: .success) {
            let directory = try TemporaryDirectory()
            chmod(directory.path, 0o755)
            let closed = try directory.makeDirectory("closed")
            chmod(closed, 0o600)
            // root may enter it all the same.
            if getuid() == 0 { try #require(setuid(65534) == 0) }
            let error = #expect(throws: UpgradeError.self) { try ExecutablePath(finding: closed + "/hello", from: "/") }
            #expect(error?.code == .executableNotPermitted)
            #expect(error?.cure.contains("enter the directories") == true, "\(String(describing: error))")
        }
    }

    @Test func `a link to itself is told as such`() throws {
        let directory = try TemporaryDirectory()
        symlink(directory("hello"), directory("hello"))
        let error = #expect(throws: UpgradeError.self) { try ExecutablePath(finding: directory("hello"), from: "/") }
        #expect(error?.code == .executableMissing && error?.cure.contains("symbolic link") == true)
    }

    @Test func `an empty name is told as such`() throws {
        let error = try self.refusal(of: "")
        #expect(error.code == .executableMissing)
        #expect(error.message.contains("empty"))
    }

    @Test func `a file that may not be executed is told as such`() throws {
        try self.directory.write("#!/bin/sh\n", to: "data", mode: 0o644)
        let error = try self.refusal(of: self.directory("data"))
        #expect(error.code == .executableNotPermitted)
        #expect(error.message.contains("may not be executed"))
        #expect(error.cure == "chmod +x \(self.directory("data"))")
    }

    @Test func `a directory is no program`() throws {
        let error = try self.refusal(of: self.directory.path)
        #expect(error.code == .executableNotPermitted)
        #expect(error.message == "\(self.directory.path) is not a regular file")
    }

    // MARK: PATH

    /// PATH belongs to the whole process, so these have a process of their own.
    @Test func `a name without a slash is looked for in PATH, in its order`() async {
        await #expect(processExitsWith: .success) {
            let directory = try TemporaryDirectory()
            for name in ["a", "b", "c"] { _ = try directory.makeDirectory(name) }
            try directory.write("", to: "a/tool", mode: 0o644)
            try directory.write("", to: "b/tool", mode: 0o755)
            try directory.write("", to: "c/tool", mode: 0o755)
            setenv("PATH", "/no/such:\(directory("a")):\(directory("b")):\(directory("c"))", 1)
            let path = try ExecutablePath(finding: "tool", from: "/").path
            #expect(path == directory("b/tool"), "\(path)")
        }
    }

    @Test func `an empty or relative element of PATH counts from the directory that is given`() async {
        await #expect(processExitsWith: .success) {
            let directory = try TemporaryDirectory()
            _ = try directory.makeDirectory("bin")
            try directory.write("", to: "tool", mode: 0o755)
            try directory.write("", to: "bin/other", mode: 0o755)
            setenv("PATH", "/no/such::bin", 1)
            #expect(try ExecutablePath(finding: "tool", from: directory.path).path == directory("tool"))
            #expect(try ExecutablePath(finding: "other", from: directory.path).path == directory("bin/other"))
        }
    }

    @Test func `without PATH the usual places are searched`() async {
        await #expect(processExitsWith: .success) {
            unsetenv("PATH")
            let path = try ExecutablePath(finding: "sh", from: "/nowhere").path
            #expect(path == "/bin/sh" || path == "/usr/bin/sh", "\(path)")
        }
    }

    @Test func `a name that is not in PATH is told with PATH`() async {
        await #expect(processExitsWith: .success) {
            setenv("PATH", "/no/such:/bin", 1)
            let error = try #require(throws: UpgradeError.self) {
                try ExecutablePath(finding: "no-such-program", from: "/")
            }
            #expect(error.code == .executableMissing)
            #expect(error.message == "no program \"no-such-program\" is in PATH (/no/such:/bin)")
        }
    }

    @Test func `a directory of that name does not hide the program behind it`() async {
        await #expect(processExitsWith: .success) {
            let directory = try TemporaryDirectory()
            _ = try directory.makeDirectory("a")
            _ = try directory.makeDirectory("a/tool")
            _ = try directory.makeDirectory("b")
            try directory.write("", to: "b/tool", mode: 0o755)
            setenv("PATH", "\(directory("a")):\(directory("b"))", 1)
            let path = try? ExecutablePath(finding: "tool", from: "/").path
            #expect(path == directory("b/tool"))
        }
    }

    private func refusal(of name: String) throws -> UpgradeError {
        try #require(throws: UpgradeError.self) { try ExecutablePath(finding: name, from: "/") }
    }
}

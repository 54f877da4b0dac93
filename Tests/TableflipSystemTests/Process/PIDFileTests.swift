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

@Suite struct PIDFileTests {
    private let directory: TemporaryDirectory
    private let path: String

    init() throws {
        self.directory = try TemporaryDirectory()
        self.path = self.directory("service.pid")
    }

    @Test func `a file appears only when it is published, and whole`() throws {
        let file = PIDFile(path: self.path)
        try file.prepare()
        #expect(text(of: self.path) == nil)
        #expect(!file.namesThisProcess)
        try file.publish()
        #expect(text(of: self.path) == "\(getpid())\n")
        #expect(file.namesThisProcess)
        #expect(self.directory.names == ["service.pid"])
    }

    @Test func `everybody may read it`() throws {
        let file = PIDFile(path: self.path)
        try file.prepare()
        try file.publish()
        var status = stat()
        #expect(stat(self.path, &status) == 0)
        #expect(status.st_mode & 0o777 & ~0o022 == 0o644)
    }

    @Test func `publishing replaces the file at once, and keeps the old one for whoever has it open`() throws {
        try self.directory.write("12345\n", to: "service.pid")
        let old = OwnedDescriptor(takingOwnershipOf: try check("open") { open(self.path, O_RDONLY | O_CLOEXEC) })
        let file = PIDFile(path: self.path)
        try file.prepare()
        #expect(text(of: self.path) == "12345\n")
        try file.publish()
        #expect(text(of: self.path) == "\(getpid())\n")
        #expect(everything(in: old.borrowed) == Array("12345\n".utf8))
    }

    @Test func `what was prepared can be discarded`() throws {
        let file = PIDFile(path: self.path)
        try file.prepare()
        #expect(self.directory.names.count == 1)
        file.discard()
        #expect(self.directory.names.isEmpty)
        file.discard()
    }

    @Test func `two generations prepare side by side`() throws {
        let old = PIDFile(path: self.path, process: 111)
        let new = PIDFile(path: self.path, process: 222)
        try old.prepare()
        try old.publish()
        try new.prepare()
        #expect(text(of: self.path) == "111\n")
        try new.publish()
        #expect(text(of: self.path) == "222\n")
    }

    @Test func `a file that another has overwritten is restored`() throws {
        let old = PIDFile(path: self.path, process: 111)
        try old.prepare()
        try old.publish()
        try self.directory.write("222\n", to: "service.pid")
        try old.restore()
        #expect(text(of: self.path) == "111\n")
        unlink(self.path)
        try old.restore()
        #expect(text(of: self.path) == "111\n")
        try old.restore()
        #expect(self.directory.names == ["service.pid"])
    }

    @Test func `only one's own file is removed`() throws {
        let old = PIDFile(path: self.path, process: 111)
        let new = PIDFile(path: self.path, process: 1111)
        try new.prepare()
        try new.publish()
        old.remove()
        #expect(text(of: self.path) == "1111\n")
        new.remove()
        #expect(text(of: self.path) == nil)
        new.remove()
    }

    @Test(arguments: ["", "111", "111\n\n", "0111\n", "111 \n", "1111\n", "112\n", "111\n222\n"])
    func `contents that only begin alike are not one's own`(_ contents: String) throws {
        try self.directory.write(contents, to: "service.pid")
        #expect(!PIDFile(path: self.path, process: 111).namesThisProcess)
    }

    // MARK: What can go wrong

    @Test func `a missing directory is noticed when preparing`() throws {
        let path = self.directory("no/service.pid")
        let error = try #require(throws: UpgradeError.self) { try PIDFile(path: path).prepare() }
        #expect(error.code == .pidFile)
        #expect(error.message == "the PID file \(path) cannot be written: open: No such file or directory")
        #expect(error.cure == "Create its directory first.")
    }

    @Test func `a directory in place of the file is noticed when preparing`() throws {
        let path = try self.directory.makeDirectory("service.pid")
        let file = PIDFile(path: path)
        let error = try #require(throws: UpgradeError.self) { try file.prepare() }
        #expect(error.code == .pidFile)
        #expect(error.message == "the PID file \(path) cannot be written: rename: Is a directory")
        #expect(!error.cure.isEmpty)
        #expect(self.directory.names == ["service.pid"])
    }

    @Test func `a directory that takes its place meanwhile is noticed when publishing`() throws {
        let file = PIDFile(path: self.path)
        try file.prepare()
        _ = try self.directory.makeDirectory("service.pid")
        let error = try #require(throws: UpgradeError.self) { try file.publish() }
        #expect(error.code == .pidFile)
        #expect(error.message == "the PID file \(self.path) cannot be written: rename: Is a directory")
        // What was prepared is not left behind.
        #expect(self.directory.names == ["service.pid"])
    }

    @Test func `a file in place of its directory is noticed when preparing`() throws {
        let file = try self.directory.write("", to: "file")
        let error = try #require(throws: UpgradeError.self) { try PIDFile(path: file + "/service.pid").prepare() }
        #expect(error.code == .pidFile)
        #expect(error.message.contains(file + "/service.pid"))
        #expect(error.message.contains("Not a directory"))
    }

    @Test func `a full disk is noticed when preparing`() async {
        await #expect(processExitsWith: .success) {
            // A limit on the size of files fails as a full disk does: with the write, not with the open.
            let directory = try TemporaryDirectory()
            signal(SIGXFSZ, SIG_IGN)
            setFileSizeLimit(0)
            let path = directory("service.pid")
            let error = try #require(throws: UpgradeError.self) { try PIDFile(path: path).prepare() }
            #expect(error.code == .pidFile)
            #expect(error.message.contains(path))
            #expect(directory.names.isEmpty)
        }
    }

    @Test func `what was discarded is written anew when it is published after all`() throws {
        let file = PIDFile(path: self.path)
        try file.prepare()
        file.discard()
        try file.publish()
        #expect(text(of: self.path) == "\(getpid())\n")
        #expect(self.directory.names == ["service.pid"])
    }

    @Test func `a link that waits under the name beside it is not followed`() throws {
        let precious = try self.directory.write("precious", to: "precious")
        #expect(symlink(precious, self.path + ".\(getpid()).tmp") == 0)
        let file = PIDFile(path: self.path)
        try file.prepare()
        try file.publish()
        #expect(text(of: precious) == "precious")
        #expect(text(of: self.path) == "\(getpid())\n")
    }

    @Test func `a FIFO in its place is another's, not waited for, and stays`() throws {
        #expect(mkfifo(self.path, 0o600) == 0)
        let file = PIDFile(path: self.path)
        #expect(!file.namesThisProcess)
        #expect(try file.namedProcess() == nil)
        let error = try #require(throws: UpgradeError.self) { try file.prepare() }
        #expect(error.code == .pidFile && error.message.contains("no regular file") && !error.cure.isEmpty)
        file.remove()
        #expect(self.directory.names == ["service.pid"])
    }

    @Test(arguments: [("", nil), ("111\n", 111), (" 111 \n", 111), ("\0\0", nil)] as [(String, CInt?)])
    func `what it names is seen before it is replaced`(_ contents: String, _ process: CInt?) throws {
        try self.directory.write(contents, to: "service.pid")
        #expect(try PIDFile(path: self.path).namedProcess() == process)
        unlink(self.path)
        #expect(try PIDFile(path: self.path).namedProcess() == nil)
    }

    @Test(arguments: ["precious", "111 222", "-1", "0", "111x", "99999999999", "111\nhost\n"])
    func `a file that is something else is not replaced by a first process`(_ contents: String) throws {
        try self.directory.write(contents, to: "service.pid")
        let error = try #require(throws: UpgradeError.self) { try PIDFile(path: self.path).namedProcess() }
        #expect(error.code == .pidFile && error.message.contains(self.path) && !error.cure.isEmpty)
    }

    @Test func `a file that is gone needs no removing`() throws {
        let file = PIDFile(path: self.path)
        try file.prepare()
        try file.publish()
        #expect(file.remove() == nil)
        #expect(file.remove() == nil)
        #expect(self.directory.names.isEmpty)
    }

    @Test func `a name that is too long is told as such, with the cure`() throws {
        let path = self.directory(String(repeating: "x", count: 250))
        let error = try #require(throws: UpgradeError.self) { try PIDFile(path: path).prepare() }
        #expect(error.code == .pidFile && error.message.contains(path))
        #expect(error.cure.contains("shorter name"))
    }

    @Test func `publishing where nothing can be written fails`() throws {
        let path = self.directory("nowhere/service.pid")
        let error = try #require(throws: UpgradeError.self) { try PIDFile(path: path).publish() }
        #expect(error.code == .pidFile)
        #expect(error.message.contains(path))
    }
}

private func setFileSizeLimit(_ size: rlim_t) {
    var limit = rlimit(rlim_cur: size, rlim_max: size)
    #if canImport(Glibc)
    _ = setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
    #else
    _ = setrlimit(RLIMIT_FSIZE, &limit)
    #endif
}

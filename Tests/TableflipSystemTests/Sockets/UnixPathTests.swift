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

@Suite struct UnixPathTests {
    private let directory: TemporaryDirectory

    init() throws { self.directory = try TemporaryDirectory() }

    @Test func `only a socket is one`() throws {
        try self.directory.write("", to: "file")
        #expect(UnixPath(self.directory("file")) == nil)
        #expect(UnixPath(self.directory("missing")) == nil)
        #expect(UnixPath(self.directory.path) == nil)
        #expect(UnixPath("") == nil)
        let listener = try BoundSocket.bind(.unix(path: self.directory("x.sock")))
        #expect(UnixPath(self.directory("x.sock"))?.path == self.directory("x.sock"))
        _ = consume listener
    }

    @Test func `its own file is removed`() throws {
        let path = self.directory("x.sock")
        let listener = try BoundSocket.bind(.unix(path: path))
        let unixPath = try #require(UnixPath(path))
        unixPath.remove()
        #expect(UnixPath(path) == nil)
        unixPath.remove()
        _ = consume listener
    }

    @Test func `somebody else's file at the same path is left alone`() throws {
        let path = self.directory("x.sock")
        let first = try BoundSocket.bind(.unix(path: path))
        let mine = try #require(UnixPath(path))
        rename(path, self.directory("moved.sock"))
        let second = try BoundSocket.bind(.unix(path: path))
        let theirs = try #require(UnixPath(path))
        #expect(mine != theirs)
        mine.remove()
        #expect(UnixPath(path) == theirs)
        _ = consume first
        _ = consume second
    }

    /// ext4 gives the inode of a removed file to the next one; but not as long as the socket behind it is open.
    @Test func `somebody else's file is left alone also when ours was removed`() throws {
        let path = self.directory("x.sock")
        let first = try BoundSocket.bind(.unix(path: path))
        let mine = try #require(UnixPath(path))
        unlink(path)
        let second = try BoundSocket.bind(.unix(path: path))
        mine.remove()
        #expect(UnixPath(path) != nil)
        _ = consume first
        _ = consume second
    }

    /// What another process has seen, as in an upgrade: it is compared, and not looked up.
    @Test func `a file is known by what it was`() throws {
        let path = self.directory("x.sock")
        let first = try BoundSocket.bind(.unix(path: path))
        let seen = try #require(UnixPath(path))
        let told = UnixPath(path, device: seen.device, inode: seen.inode)
        #expect(told == seen && !told.isReplaced)
        unlink(path)
        #expect(!told.isReplaced)
        let second = try BoundSocket.bind(.unix(path: path))
        #expect(told.isReplaced)
        told.remove()
        #expect(UnixPath(path) != nil)
        unlink(path)
        try self.directory.write("precious", to: "x.sock")
        #expect(told.isReplaced)
        _ = consume first
        _ = consume second
    }

    @Test func `a file that took its place is left alone`() throws {
        let path = self.directory("x.sock")
        let listener = try BoundSocket.bind(.unix(path: path))
        let unixPath = try #require(UnixPath(path))
        unlink(path)
        try self.directory.write("precious", to: "x.sock")
        unixPath.remove()
        #expect(text(of: path) == "precious")
        _ = consume listener
    }
}

// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A directory that goes away with this value. Its path is short, as a Unix socket's must be.
final class TemporaryDirectory {
    let path: String

    init() throws {
        var template = Array("/tmp/tf.XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        self.path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { Self.remove(self.path) }

    func callAsFunction(_ name: String) -> String { self.path + "/" + name }

    /// Writes a file.
    @discardableResult
    func write(_ contents: String, to name: String, mode: mode_t = 0o644) throws -> String {
        let path = self(name)
        let descriptor = try check("open") { open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600) }
        let file = OwnedDescriptor(takingOwnershipOf: descriptor)
        let bytes = Array(contents.utf8)
        try #require(writeAll(bytes, to: file.borrowed) == bytes.count)
        try check("fchmod") { fchmod(file.borrowed, mode) }
        return path
    }

    func makeDirectory(_ name: String) throws -> String {
        try check("mkdir") { mkdir(self(name), 0o755) }
        return self(name)
    }

    /// The names in it.
    var names: Set<String> { Self.names(in: self.path) }

    private static func names(in path: String) -> Set<String> {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var names: Set<String> = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                // SAFETY: d_name is an array that holds a string with a zero at its end (readdir(3)).
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.insert(name) }
        }
        return names
    }

    private static func remove(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            unlink(path)
            return
        }
        for name in self.names(in: path) { self.remove(path + "/" + name) }
        rmdir(path)
    }
}

/// A method called `write` hides the function.
private func writeAll(_ bytes: [UInt8], to descriptor: CInt) -> Int { write(descriptor, bytes, bytes.count) }

/// What is in a file; nil where there is none.
func contents(of path: String) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    let file = OwnedDescriptor(takingOwnershipOf: descriptor)
    return everything(in: file.borrowed)
}

/// Reads to the end, or as far as a descriptor that does not block goes.
func everything(in descriptor: CInt) -> [UInt8] {
    var all: [UInt8] = []
    var bytes = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 0 else { return all }
        all += bytes[..<count]
    }
}

func text(of path: String) -> String? { contents(of: path).map { String(decoding: $0, as: UTF8.self) } }

// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The bytes of version 1, as files that people can read. They never change: a process of today may be upgraded from,
/// or to, one of any later release.
@Suite struct FixtureTests {
    @Test(arguments: Sample.all)
    func `a message is written as in the fixture of version 1`(_ sample: Sample) throws {
        let fixture = try Fixture(reading: "v1/\(sample.name).hex")
        let written = sample.message.encoded()
        #expect(written == fixture.bytes, "written: \(written.hex)")
    }

    @Test(arguments: Sample.all)
    func `the fixture of version 1 is read as the message`(_ sample: Sample) throws {
        let fixture = try Fixture(reading: "v1/\(sample.name).hex")
        var decoder = FrameDecoder()
        decoder.append(fixture.bytes)
        #expect(try decoder.next()?.message == sample.message)
        try decoder.finish()
    }

    @Test func `there is a fixture for each sample and no other`() throws {
        let names = try Fixture.names(in: "v1")
        #expect(names == Set(Sample.all.map { "\($0.name).hex" }))
    }
}

/// Bytes in hexadecimal; whatever follows a `#` is for people.
struct Fixture {
    var bytes: [UInt8] = []

    init(reading name: String) throws {
        let text = try Self.contents(of: Self.folder + name)
        for line in text.split(separator: "\n") {
            for word in line.prefix(while: { $0 != "#" }).split(separator: " ") {
                try #require(word.utf8.count == 2, "\(name): \(word)")
                self.bytes.append(try #require(UInt8(word, radix: 16), "\(name): \(word)"))
            }
        }
        try #require(!self.bytes.isEmpty)
    }

    static func names(in version: String) throws -> Set<String> {
        let directory = try #require(opendir(Self.folder + version))
        defer { closedir(directory) }
        var names: Set<String> = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                // SAFETY: d_name is an array that holds a string with a zero at its end (readdir(3)).
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.insert(name) }
        }
        return names
    }

    /// `Fixtures/` beside the folder of this file.
    private static let folder: String = {
        let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2)
        return parts.joined(separator: "/") + "/Fixtures/"
    }()

    private static func contents(of path: String) throws -> String {
        let file = try #require(fopen(path, "r"), "\(path)")
        defer { fclose(file) }
        var all: [UInt8] = []
        var bytes = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = fread(&bytes, 1, bytes.count, file)
            guard count > 0 else { break }
            all += bytes[..<count]
        }
        return String(decoding: all, as: UTF8.self)
    }
}

extension [UInt8] {
    fileprivate var hex: String {
        self.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
    }
}

use diptych::{PageId, PageReader};

fn store(reader: &mut PageReader<4096>, id: PageId<4096>) {
    id.get_mut(reader).unwrap()[0] = 1;
    reader.free(id).unwrap();
}

fn main() {}

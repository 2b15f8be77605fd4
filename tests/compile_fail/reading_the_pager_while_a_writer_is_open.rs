use diptych::{Pager, ProtectedPageId};

fn write(pager: &mut Pager<4096>, id: ProtectedPageId<4096>) {
    let mut writer = id.get_mut(pager).unwrap();
    writer.page_mut()[0] = id.get(pager).unwrap()[1];
    writer.commit().unwrap();
}

fn main() {}
